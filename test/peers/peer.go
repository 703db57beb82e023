package main

import (
	"errors"
	"io"
)

// role is what a peer is in the comparison.
type role int

const (
	ours      role = iota // geminio
	reference             // what the machine could do: raw TCP, the minimal programs
	other                 // another library
)

// peer is one way to do the work.
type peer struct {
	name   string
	role   role
	module string // whose version is reported, if any
	setup  string // what it is and how it is set up, for the report
	start  func(*service) (server, error)
}

// peers are all, in the order of the report.
func peers() []*peer {
	return []*peer{
		geminioPeer(), rawPeer(), minimalPeer(), minimalCallsPeer(),
		yamuxPeer(), smuxPeer(), goYamuxPeer(), quicPeer(),
		grpcPeer(), grpcStreamPeer(), natsPeer(), jetStreamPeer(),
	}
}

// service is what the server's side does. What is nil is not offered.
type service struct {
	// answer makes the answer to a request. The answer may be the request itself;
	// it is sent before the request's memory is used again.
	answer func(request []byte) []byte
	// message takes a message, which is acknowledged when it returns.
	message func(data []byte)
	// closed is told of each stream that was opened for a single byte, when its
	// end was read and it was closed on the server's side too.
	closed func(b byte)
}

// server accepts connections.
type server interface {
	// dial makes one more connection and has both sides of it running.
	dial() (link, error)
	close() error
}

// link is a connection with both its sides. What else it can do is said by the
// interfaces below; a link that lacks one does not take part in that row.
//
// Memory given to a link is not changed afterwards by those who measure, so that
// a link may hold on to it.
type link interface {
	// close ends both sides, and whatever is under way. It may be called again.
	close() error
}

// call sends a request and waits for its answer, which is good until the next
// call. It is used by one goroutine.
type call func(request []byte) (answer []byte, err error)

// publish sends a message and waits until it is acknowledged. It is used by one
// goroutine.
type publish func(data []byte) error

// calling is a link with calls.
type calling interface {
	// caller makes one of the callers that share the link.
	caller() (call, error)
}

// publishing is a link with acknowledged messages.
type publishing interface {
	// publisher makes one of the publishers that share the link.
	publisher() (publish, error)
}

// storing is a link whose messages are acknowledged when they are stored, and not
// given to service.message.
type storing interface {
	stored() ([][]byte, error)
}

// streaming is a link with byte streams.
type streaming interface {
	// open opens a stream, and returns it as its opener and as the server has it.
	open() (opener, accepted io.ReadWriteCloser, err error)
}

// touching is a link whose streams are cheap enough to be opened for one byte.
type touching interface {
	// touch opens a stream, writes b, and closes it. The server's side reads to
	// the end, closes and tells service.closed. touch does not wait for that; what
	// it returns, unless nil, is to be called after it.
	touch(b byte) (settle func() error, err error)
}

// errNotOffered is of a probe that a peer does not take part in.
var errNotOffered = errors.New("not offered")

// errUnexpected is an answer or a payload that is not the one that was expected.
var errUnexpected = errors.New("not what was sent")
