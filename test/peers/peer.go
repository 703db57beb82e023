package main

import (
	"errors"
	"io"

	"github.com/singchia/geminio/test/kit"
)

// role is the role of a peer in the comparison.
type role int

const (
	ours      role = iota // geminio
	reference             // raw TCP and the minimal programs
	other                 // another library
)

// peer is one way to do the work.
type peer struct {
	name   string
	role   role
	module string // the module whose version is reported, if any
	setup  string // a description and the settings, for the report
	start  func(*service) (server, error)
	// overTCP says that start uses a way, so that connections can have a path.
	overTCP bool
}

// peers returns all peers, in the order of the report.
func peers() []*peer {
	return []*peer{
		geminioPeer(), rawPeer(), minimalPeer(), minimalCallsPeer(),
		yamuxPeer(), smuxPeer(), goYamuxPeer(), quicPeer(),
		grpcPeer(), grpcStreamPeer(), natsPeer(), jetStreamPeer(),
	}
}

// service is the server's side of the work. A nil field is not offered.
type service struct {
	// answer makes the answer to a request. The answer may be the request itself;
	// it is sent before the request's memory is used again.
	answer func(request []byte) []byte
	// message processes a message, which is acknowledged when message returns.
	message func(data []byte)
	// closed is called for each stream that was opened for a single byte, after its end
	// was read and it was closed on the server's side too.
	closed func(b byte)
	// security has the configurations of TLS; nil for connections without TLS.
	security *security
	link     *kit.Link // that connections have; nil: the loopback interface, unless there is a wire
	wire     *wire     // that connections have; nil: none
	budget   int       // the MemoryBudget of geminio; 0: the default
}

// server accepts connections.
type server interface {
	// dial makes another connection with both its sides.
	dial() (link, error)
	close() error
}

// link is a connection with both its sides. The interfaces below are its optional
// abilities; a link that lacks one has no figure in the corresponding rows.
//
// The probes do not change memory after they have passed it to a link, so a link may keep
// it.
type link interface {
	// close ends both sides and all operations under way. It may be called again.
	close() error
}

// call sends a request and waits for its answer, which is valid until the next call. One
// goroutine uses it.
type call func(request []byte) (answer []byte, err error)

// publish sends a message and waits until it is acknowledged. One goroutine uses it.
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

// storing is a link whose messages are acknowledged when they are stored, and that does
// not call service.message.
type storing interface {
	stored() ([][]byte, error)
}

// streaming is a link with byte streams.
type streaming interface {
	// open opens a stream, and returns its opener's side and the server's side.
	open() (opener, accepted io.ReadWriteCloser, err error)
}

// touching is a link with streams that are cheap enough to be opened for one byte.
type touching interface {
	// touch opens a stream, writes b, and closes it. The server's side reads to the end,
	// closes and calls service.closed. touch does not wait for that. If it returns a
	// function, the caller calls it afterwards.
	touch(b byte) (settle func() error, err error)
}

// errNotOffered is the error of a probe that a peer does not support.
var errNotOffered = errors.New("not offered")

// errUnexpected is the error of a wrong answer or payload.
var errUnexpected = errors.New("not what was sent")
