package geminio

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/singchia/geminio/options"
)

// Request is what a caller sends and a handler gets. It is made by
// [RPCer.NewRequest] and belongs to the stream that made it.
//
// A Request is not safe for concurrent use: set what is to be set before Call or
// CallAsync, and leave it alone until they have answered.
type Request interface {
	// ID is the request's number, unique among the requests of its connection
	// side. The Response to it has the same number.
	ID() uint64

	// StreamID is the stream the request was made for.
	StreamID() uint64

	// ClientID is the client whose connection the request was made for.
	ClientID() uint64

	// Method is the name called. It is empty until the request is called.
	Method() string

	// Timeout is the longest time the call may take, counted from the call. At
	// the handler it is what the caller allowed. Zero means no limit of its own:
	// only the context bounds the call.
	Timeout() time.Duration

	// Data is the payload. It is shared, not copied: do not change it while the
	// call is under way, which is until Call has returned or CallAsync has told its
	// outcome.
	Data() []byte

	// Custom is a second, small payload for the application's own metadata, such
	// as a trace id; nil when none was set.
	Custom() []byte

	// SetTimeout sets the timeout. A timeout in the options of Call takes
	// precedence. Zero or less means none.
	SetTimeout(time.Duration)

	// SetCustom sets the metadata that travels beside the data. The slice is
	// kept, not copied.
	SetCustom([]byte)

	// SetClientID changes the client the request is meant for. A stream refuses
	// requests of another client with [ErrMismatchClientID]; the setter is for
	// code that hands requests on between Ends.
	SetClientID(uint64)

	// SetStreamID changes the stream the request is meant for. A stream refuses
	// requests of another stream with [ErrMismatchStreamID].
	SetStreamID(uint64)
}

// Response is what a handler fills and a caller gets. The handler's Response is
// sent when the handler returns; it must not be kept beyond that. It is not safe
// for concurrent use.
type Response interface {
	// ID is the number of the Request this answers.
	ID() uint64

	// StreamID is the stream of the call.
	StreamID() uint64

	// ClientID is the client whose connection carried the call.
	ClientID() uint64

	// Method is the name that was called.
	Method() string

	// Data is the payload of the answer.
	Data() []byte

	// Error is the handler's error, nil when there was none. At the caller, Call
	// returns the same error as its own result.
	Error() error

	// Custom is the metadata that travelled back beside the data.
	Custom() []byte

	// SetData sets the payload of the answer. The slice is kept, not copied, and
	// belongs to the answer from then on: do not change it, also not when the handler
	// has returned, since the answer may still wait to be sent.
	SetData([]byte)

	// SetError makes the call fail at the caller, with err's text and code (see
	// [Coder]): a [*RemoteError] of another peer is passed on as it is. An error
	// whose methods panic arrives as [CodePanic]. nil takes an earlier error back.
	SetError(error)

	// SetCustom sets the metadata that travels back beside the data. The slice
	// is kept, not copied, as that of SetData.
	SetCustom([]byte)

	// SetClientID changes what ClientID reports; where the answer goes does not
	// depend on it.
	SetClientID(uint64)

	// SetStreamID changes what StreamID reports; where the answer goes does not
	// depend on it.
	SetStreamID(uint64)
}

// Message is one published payload, seen by its publisher (which makes it with
// [Messager.NewMessage]) and by its receiver (which gets it from
// [Messager.Receive] and answers it with Done or Error).
//
// Done and Error may be called from any goroutine. The setters are for the
// publisher before Publish and are not safe for concurrent use.
type Message interface {
	// Done tells the publisher that the message was dealt with: its Publish
	// returns nil. Only the first Done or Error of a message counts, any later
	// one returns [ErrAnswered]. It also fails when the answer can no longer be
	// sent because the stream or the End has ended. For a message sent at most
	// once no answer is sent, and Done returns nil.
	Done() error

	// Error tells the publisher that the message failed: its Publish returns a
	// [*RemoteError] with err's text, of which at most 1000 bytes travel, and with
	// its code (see [Coder]). A nil err is the same as Done. What it returns is
	// the fate of the answer, as for Done, not err.
	Error(err error) error

	// ID is the message's number, unique among the messages of its connection
	// side.
	ID() uint64

	// StreamID is the stream the message was made for.
	StreamID() uint64

	// ClientID is the client whose connection the message was made for.
	ClientID() uint64

	// Timeout is how long the publisher waits for the answer, counted from
	// Publish. Zero means no limit of its own.
	Timeout() time.Duration

	// Topic is the free text set by the publisher; empty when none was set.
	// Every message goes to the one receiver of its stream: the topic routes
	// nothing.
	Topic() string

	// Cnss is the delivery guarantee the message was made with, at least once
	// unless its options said otherwise.
	Cnss() options.Cnss

	// Data is the payload. It is shared, not copied: do not change it while the
	// message is under way, which is until Publish has returned or PublishAsync has
	// told its outcome.
	Data() []byte

	// Custom is the metadata set by the publisher; nil when none was set.
	Custom() []byte

	// SetTimeout sets how long Publish waits for the answer. A timeout in the
	// options of Publish takes precedence. Zero or less means no limit.
	SetTimeout(time.Duration)

	// SetCustom sets the metadata that travels beside the data. The slice is
	// kept, not copied.
	SetCustom([]byte)

	// SetTopic sets the topic.
	SetTopic(string)

	// SetClientID changes the client the message is meant for. A stream refuses
	// messages of another client with [ErrMismatchClientID].
	SetClientID(uint64)

	// SetStreamID changes the stream the message is meant for. A stream refuses
	// messages of another stream with [ErrMismatchStreamID].
	SetStreamID(uint64)
}

// RPC handles one call: it reads the Request and fills the Response, which is
// sent when it returns. Every call runs on a goroutine of its own, so an RPC may
// block and may itself call, publish and open streams.
//
// The context ends when the caller gives up (cancel, deadline) or the
// connection does. A call made with it, or with one derived from it, waits at most ten
// seconds for a free handler at the peer, then it fails with [ErrTooMany]: so handlers
// that call each other to and fro, deeper than there may be handlers, come to an end. A panic is reported to the caller as an error and logged
// here; it does not end the connection.
type RPC func(context.Context, Request, Response)

// HijackRPC handles calls of any method, whose name is its second argument. It
// is otherwise like an [RPC].
type HijackRPC func(context.Context, string, Request, Response)

// MethodRPC names an [RPC], for options that register several at once.
type MethodRPC struct {
	// Method is the name under which the peer calls.
	Method string
	// RPC handles the calls.
	RPC RPC
}

// Call is an asynchronous call, made by [RPCer.CallAsync].
type Call struct {
	// Method is the name called.
	Method string
	// Request is what was sent.
	Request Request
	// Response is the answer; nil until the Call arrives on Done, and after it
	// when there was no answer.
	Response Response
	// Error is the outcome, the same as the error of a synchronous Call. It may
	// be read once the Call has arrived on Done.
	Error error
	// Done receives this Call when it has ended, exactly once.
	Done chan *Call
}

// Publish is an asynchronous publication, made by [Messager.PublishAsync].
type Publish struct {
	// Message is what was published.
	Message Message
	// Error is the outcome, the same as the error of a synchronous Publish. It
	// may be read once the Publish has arrived on Done.
	Error error
	// Done receives this Publish when it has ended, exactly once.
	Done chan *Publish
}

// RPCer calls the peer's methods and offers methods to the peer, both on one
// stream: what is registered on a stream is called on that stream.
// All methods may be called concurrently.
type RPCer interface {
	// NewRequest makes a request for this stream with the given payload, which
	// is kept and not copied. nil options are skipped, later ones win. A
	// request is good for one call.
	NewRequest(data []byte, opts ...*options.NewRequestOptions) Request

	// Call calls a method of the peer and waits for the answer. It returns when
	// the answer is there, when ctx ends, when the timeout (of opts, else of
	// req) has passed since the call, or when the stream or the End has ended,
	// whichever is first. A caller that gives up also ends the context of the
	// handler.
	//
	// An error of the handler is a [*RemoteError] with the handler's text and
	// code. On an
	// End or stream already closed the error is io.EOF itself. For a call that
	// was under way when the stream or the connection ended it is an
	// [*InterruptedError], which says whether the peer may have acted on it. A
	// request made for another client or stream ([ErrMismatchClientID],
	// [ErrMismatchStreamID]), a method that the peer has not registered where
	// that is checked ([ErrRemoteRPCUnregistered]) and a payload above the
	// peer's limit ([ErrTooLarge]) are refused before anything is sent; the
	// connection lives on.
	Call(ctx context.Context, method string, req Request, opts ...*options.CallOptions) (Response, error)

	// CallAsync starts a call and returns at once. The outcome arrives on ch,
	// which must have room or a reader: it is the only thing that waits when it
	// has neither. With a nil ch a channel with room for one is made; either
	// way it is the Done field of the result. An error means that the call was
	// not started, and that nothing will arrive.
	CallAsync(ctx context.Context, method string, req Request, ch chan *Call, opts ...*options.CallOptions) (*Call, error)

	// Register offers a method to the peer on this stream, in place of one
	// registered earlier under the same name. It returns when the peer has
	// taken note, so that what the peer calls after hearing of it is found. On
	// an End or stream already closed the error is io.EOF itself.
	Register(ctx context.Context, method string, rpc RPC) error

	// Hijack sends calls on this stream to rpc before registered methods are
	// looked at. Without options it takes every call; with a pattern, those
	// whose method matches it, or those whose method does not
	// (options.HijackOptions). The last Hijack wins, and one with a nil rpc ends
	// the hijacking. A pattern that does not compile is an error and leaves things
	// as they were.
	Hijack(rpc HijackRPC, opts ...*options.HijackOptions) error
}

// Messager exchanges messages with the peer of one stream. Messages of a stream
// keep their order. All methods may be called concurrently.
type Messager interface {
	// NewMessage makes a message for this stream with the given payload, which
	// is kept and not copied. nil options are skipped, later ones win. A
	// message is good for one publication.
	NewMessage(data []byte, opts ...*options.NewMessageOptions) Message

	// Publish sends a message and waits until the receiver has answered it: nil
	// after Done, a [*RemoteError] with the receiver's text after Error. It also
	// returns when ctx ends, when the timeout (of opts, else of msg) has passed
	// since the call, or when the stream or the End has ended. A message sent
	// at most once is not answered: Publish returns as soon as it is queued.
	//
	// A receiver that does not keep up makes its publishers wait; nothing is
	// dropped. On an End or stream already closed the error is io.EOF itself;
	// for a message under way at the end it is an [*InterruptedError], which
	// says whether the peer may have got it. What is refused before anything is
	// sent is as for [RPCer.Call].
	Publish(ctx context.Context, msg Message, opts ...*options.PublishOptions) error

	// PublishAsync starts a publication and returns without waiting for the
	// answer. The outcome arrives on ch, as described for CallAsync. An error
	// means that the message was not sent, and that nothing will arrive.
	PublishAsync(ctx context.Context, msg Message, ch chan *Publish, opts ...*options.PublishOptions) (*Publish, error)

	// Receive waits for the next message of this stream. The error is ctx's
	// when ctx ends first, and io.EOF itself once the stream or the End has
	// ended and every message that had arrived was handed out.
	Receive(ctx context.Context) (Message, error)
}

// Raw is the byte stream: a full net.Conn with deadlines, in which nothing is
// lost or reordered whatever the reader's pace. Once the peer has closed, Read
// gives what is buffered and then io.EOF, which says that nothing is missing: where
// the connection broke, or a Write of the peer was cut off, it gives an error that
// matches [ErrConnectionLost] or is a [*StreamError]. Close still delivers what was
// written.
type Raw net.Conn

// RawRPCMessager is the three ways of talking that every stream has.
type RawRPCMessager interface {
	Raw
	RPCer
	Messager
}

// Side says which side began a connection or a stream.
type Side int

const (
	// InitiatorSide is the side that dialled the connection or opened the
	// stream.
	InitiatorSide Side = 0
	// RecipientSide is the side that accepted it.
	RecipientSide Side = 1
)

// String returns "initiator" or "recipient", and "side(N)" for any other value.
func (s Side) String() string {
	switch s {
	case InitiatorSide:
		return "initiator"
	case RecipientSide:
		return "recipient"
	}
	return "side(" + strconv.Itoa(int(s)) + ")"
}

// Stream is one of the independent conversations on a connection. A stream that is not
// read, or whose handlers are slow, holds back only itself.
type Stream interface {
	RawRPCMessager

	// StreamID is the stream's number, the same on both sides, never 0.
	StreamID() uint64

	// ClientID is the number of the client at the connection's initiator side,
	// the same on both sides, never 0.
	ClientID() uint64

	// Meta is what the opener set in its options; of an End, what the client
	// set. It is seen on both sides and must not be changed.
	Meta() []byte

	// Side is InitiatorSide at the opener, or of an End at the client.
	Side() Side

	// Peer is the text that the opener set with SetPeer, a name for what the
	// stream is meant to reach; empty when none was set.
	Peer() string
}

// Multiplexer opens and accepts streams. All methods may be called
// concurrently.
type Multiplexer interface {
	// OpenStream opens a stream and waits until the peer has agreed to it. nil
	// options are skipped, later ones win. A refusal is a [*RefusedError] with
	// the peer's text; on an End already closed the error is io.EOF itself.
	OpenStream(opts ...*options.OpenStreamOptions) (Stream, error)

	// AcceptStream waits for the next stream that the peer opens. The error is
	// io.EOF itself once the End is closed.
	AcceptStream() (Stream, error)

	// ListStreams returns the streams that are open now, the default stream
	// among them, in no particular order.
	ListStreams() []Stream
}

// End is one side of a connection. It is its own default stream, whose id is 1
// on both sides, and a net.Listener for the streams that the peer opens: Accept
// is AcceptStream and Addr is LocalAddr.
type End interface {
	Stream
	Multiplexer
	net.Listener

	// Close ends the connection and with it every stream, at once, but within a
	// bounded time still delivers what was written. Closing again does no harm
	// and returns nil.
	Close() error
}
