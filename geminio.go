package geminio

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/singchia/geminio/options"
)

// Request is the request of a call. The caller makes it with [RPCer.NewRequest]; the
// handler gets one with the same content.
//
// A Request is not safe for concurrent use. The caller may use its setters before Call or
// CallAsync and must not use them during the call.
type Request interface {
	// ID returns the number of the request. It is unique among the requests that
	// this side of the connection makes. The Response has the same number.
	ID() uint64

	// StreamID returns the id of the stream that the request was made for.
	StreamID() uint64

	// ClientID returns the id of the client whose connection the request was made
	// for.
	ClientID() uint64

	// Method returns the called method. It is empty before the call.
	Method() string

	// Timeout returns the longest time that the call may take, from its beginning.
	// At the handler it is the time that the caller allows. The default is zero,
	// which means no limit besides the context.
	Timeout() time.Duration

	// Data returns the payload. The slice is shared, not copied. The caller must not
	// change it until Call has returned or the Call of CallAsync is done. The
	// handler may keep it.
	Data() []byte

	// Custom returns the metadata of the application, such as a trace id. It is nil
	// if none was set.
	Custom() []byte

	// SetTimeout sets the timeout. A timeout in the options of the call takes
	// precedence. Zero and negative values mean no limit.
	SetTimeout(time.Duration)

	// SetCustom sets the metadata, which is sent beside the data. The slice is kept,
	// not copied.
	SetCustom([]byte)

	// SetClientID changes the id of the client. A stream refuses a request with the
	// id of another client: the call returns [ErrMismatchClientID]. Programs that
	// pass requests on between Ends use this method.
	SetClientID(uint64)

	// SetStreamID changes the id of the stream. A stream refuses a request with the
	// id of another stream: the call returns [ErrMismatchStreamID].
	SetStreamID(uint64)
}

// Response is the answer to a Request. The handler fills a Response, which is sent when the
// handler returns; the caller gets one with the same content from [RPCer.Call].
//
// A Response is not safe for concurrent use. The handler must not use it after it has
// returned.
type Response interface {
	// ID returns the number of the Request.
	ID() uint64

	// StreamID returns the id of the stream of the call.
	StreamID() uint64

	// ClientID returns the id of the client whose connection carries the call.
	ClientID() uint64

	// Method returns the called method.
	Method() string

	// Data returns the payload of the answer.
	Data() []byte

	// Error returns the error of the handler, or nil if there is none. At the caller
	// it is the error that Call returns.
	Error() error

	// Custom returns the metadata of the answer. It is nil if none was set.
	Custom() []byte

	// SetData sets the payload of the answer. The slice is kept, not copied. The
	// handler must not change it afterwards, not even after it has returned, because
	// the answer may not be sent yet.
	SetData([]byte)

	// SetError makes the call fail: Call returns a [*RemoteError] with the text of
	// err and its code (see [Coder]). An error whose methods panic arrives with
	// [CodePanic]. SetError(nil) removes an earlier error.
	SetError(error)

	// SetCustom sets the metadata, which is sent beside the data. The slice is
	// kept, not copied, as in SetData.
	SetCustom([]byte)

	// SetClientID changes the result of ClientID. It does not change the destination
	// of the answer.
	SetClientID(uint64)

	// SetStreamID changes the result of StreamID. It does not change the destination
	// of the answer.
	SetStreamID(uint64)
}

// Message is a published message. The publisher makes it with [Messager.NewMessage]; the
// receiver gets one with the same content from [Messager.Receive], and answers it with Done
// or Error.
//
// Done and Error are safe for concurrent use. The setters are not; the publisher may use
// them before Publish or PublishAsync.
type Message interface {
	// Done answers the message: the Publish of the publisher returns nil. Only the
	// first call of Done or Error answers; later calls return [ErrAnswered]. Done
	// returns io.EOF if the answer cannot be sent because the stream or the End has
	// ended. An at-most-once message has no answer; Done then returns nil.
	Done() error

	// Error answers the message with an error: the Publish of the publisher returns
	// a [*RemoteError] with the text of err, of which at most 1000 bytes are sent,
	// and its code (see [Coder]). A nil err makes it Done. Error returns the same
	// errors as Done, never err.
	Error(err error) error

	// ID returns the number of the message. It is unique among the messages that
	// this side of the connection makes.
	ID() uint64

	// StreamID returns the id of the stream that the message was made for.
	StreamID() uint64

	// ClientID returns the id of the client whose connection the message was made
	// for.
	ClientID() uint64

	// Timeout returns the longest time that Publish waits for the answer, from its
	// beginning. The default is zero, which means no limit besides the context.
	Timeout() time.Duration

	// Topic returns the text that the publisher has set, by default the empty
	// string. The library does not interpret it: the receiver of the stream gets the
	// messages of all topics.
	Topic() string

	// Cnss returns the delivery guarantee, by default options.CnssAtLeastOnce.
	Cnss() options.Cnss

	// Data returns the payload. The slice is shared, not copied. The publisher must
	// not change it until Publish has returned or the Publish of PublishAsync is
	// done. The receiver may keep it.
	Data() []byte

	// Custom returns the metadata of the publisher. It is nil if none was set.
	Custom() []byte

	// SetTimeout sets the longest time that Publish waits for the answer. A timeout
	// in the options of Publish takes precedence. Zero and negative values mean no
	// limit.
	SetTimeout(time.Duration)

	// SetCustom sets the metadata, which is sent beside the data. The slice is kept,
	// not copied.
	SetCustom([]byte)

	// SetTopic sets the topic.
	SetTopic(string)

	// SetClientID changes the id of the client. A stream refuses a message with the
	// id of another client: Publish returns [ErrMismatchClientID].
	SetClientID(uint64)

	// SetStreamID changes the id of the stream. A stream refuses a message with the
	// id of another stream: Publish returns [ErrMismatchStreamID].
	SetStreamID(uint64)
}

// RPC handles a call. It reads the Request and fills the Response, which is sent when the
// RPC returns. Each call runs in a goroutine of its own, so an RPC may block, and may call,
// publish and open streams itself.
//
// The context is done when the caller gives up, when the timeout of the call has passed, or
// when the stream or the connection ends. An RPC should then return.
//
// A call that an RPC makes with this context, or with a context derived from it, waits at
// most ten seconds for a free handler of the peer. After that it fails with [ErrTooMany].
// So chains of handlers that call each other end when they are longer than the number of
// handlers allows.
//
// If an RPC panics, the caller gets a [*RemoteError] with [CodePanic] and this side logs the
// panic. The connection continues.
type RPC func(context.Context, Request, Response)

// HijackRPC handles calls of any method. Its second argument is the called method. In all
// else it is like an [RPC].
type HijackRPC func(context.Context, string, Request, Response)

// MethodRPC is a method and its [RPC], for options that register several methods at once.
type MethodRPC struct {
	// Method is the name of the method.
	Method string
	// RPC handles the calls of the method.
	RPC RPC
}

// Call is an asynchronous call. [RPCer.CallAsync] makes it.
type Call struct {
	// Method is the called method.
	Method string
	// Request is the request of the call.
	Request Request
	// Response is the answer. It may be read after the Call has arrived on Done. It
	// is nil if there was no answer.
	Response Response
	// Error is the outcome, as the error of a synchronous Call. It may be read after
	// the Call has arrived on Done.
	Error error
	// Done receives the Call once, when the call has ended.
	Done chan *Call
}

// Publish is an asynchronous publication. [Messager.PublishAsync] makes it.
type Publish struct {
	// Message is the published message.
	Message Message
	// Error is the outcome, as the error of a synchronous Publish. It may be read
	// after the Publish has arrived on Done.
	Error error
	// Done receives the Publish once, when the publication has ended.
	Done chan *Publish
}

// RPCer calls methods of the peer and registers methods for the peer. A method that is
// registered on a stream can be called on that stream only. All methods of an RPCer are safe
// for concurrent use.
type RPCer interface {
	// NewRequest makes a request for this stream with the payload data. The slice is
	// kept, not copied. Nil options are skipped, and later ones take precedence. A
	// request may be used for one call.
	NewRequest(data []byte, opts ...*options.NewRequestOptions) Request

	// Call calls a method of the peer and waits for the answer, until ctx is done,
	// until the timeout has passed, or until the stream or the End has ended. The
	// timeout is that of opts, or else that of req; it counts from the beginning of
	// Call. If the caller gives up, the context of the handler is done too.
	//
	// The error is
	//
	//   - a [*RemoteError] with the text and the code of the handler's error,
	//   - ctx.Err(), or context.DeadlineExceeded after the timeout,
	//   - io.EOF itself if the stream or the End had ended before the call,
	//   - an [*InterruptedError] if it ended during the call; the error says whether
	//     the peer may have executed the call,
	//   - [ErrGoingAway] if one side is shutting down,
	//   - [ErrTooLarge], with a [*LimitError], if the request exceeds the limit of
	//     the peer,
	//   - [ErrTooMany], with a [*LimitError], if a limit of the number of calls is
	//     reached,
	//   - [ErrMismatchClientID] or [ErrMismatchStreamID] if req was made for another
	//     client or stream,
	//   - [ErrRemoteRPCUnregistered] if the peer has not registered the method and
	//     this End checks that.
	//
	// The connection continues after all errors that concern only this call.
	Call(ctx context.Context, method string, req Request, opts ...*options.CallOptions) (Response, error)

	// CallAsync starts a call and returns at once. When the call has ended, the
	// returned Call is sent on ch. If ch is nil, CallAsync makes a channel with
	// capacity 1. In both cases the channel is the field Done of the Call. A
	// channel that has no room and no receiver delays only the Call that is to be
	// sent on it. If CallAsync returns an error, the call was not started and
	// nothing is sent on ch.
	CallAsync(ctx context.Context, method string, req Request, ch chan *Call, opts ...*options.CallOptions) (*Call, error)

	// Register registers a method for the peer on this stream. It replaces an
	// earlier registration of the same name. Register returns when the peer knows
	// the method, so the peer can call it from then on. The error is io.EOF itself
	// if the stream or the End has ended, and ctx.Err() if ctx is done first; the
	// method may then be registered or not.
	Register(ctx context.Context, method string, rpc RPC) error

	// Hijack passes calls of the peer on this stream to rpc, before registered
	// methods are looked up. Without a pattern in opts it passes all calls; with one
	// it passes the calls whose method matches, or does not match, the pattern (see
	// options.HijackOptions). A later Hijack replaces an earlier one, and a nil rpc
	// removes it. Hijack returns an error, and changes nothing, if the pattern does
	// not compile.
	Hijack(rpc HijackRPC, opts ...*options.HijackOptions) error
}

// Messager exchanges messages with the peer of one stream. The messages of a stream arrive
// in the order in which they were published. All methods of a Messager are safe for
// concurrent use.
type Messager interface {
	// NewMessage makes a message for this stream with the payload data. The slice is
	// kept, not copied. Nil options are skipped, and later ones take precedence. A
	// message may be used for one publication.
	NewMessage(data []byte, opts ...*options.NewMessageOptions) Message

	// Publish sends a message and waits until the receiver has answered it, until
	// ctx is done, until the timeout has passed, or until the stream or the End has
	// ended. The timeout is that of opts, or else that of msg; it counts from the
	// beginning of Publish. An at-most-once message has no answer: Publish returns
	// when the message is queued.
	//
	// Publish returns nil after Message.Done and a [*RemoteError] after
	// Message.Error. The other errors are those of [RPCer.Call].
	//
	// Messages are not dropped if the receiver is slow. Instead Publish waits.
	Publish(ctx context.Context, msg Message, opts ...*options.PublishOptions) error

	// PublishAsync starts a publication and returns without waiting for the answer.
	// When the publication has ended, the returned Publish is sent on ch, as
	// [RPCer.CallAsync] does with a Call. If PublishAsync returns an error, the
	// message was not sent and nothing is sent on ch.
	PublishAsync(ctx context.Context, msg Message, ch chan *Publish, opts ...*options.PublishOptions) (*Publish, error)

	// Receive returns the next message of this stream, and waits if there is none.
	// It returns ctx.Err() if ctx is done first. It returns io.EOF itself when the
	// stream or the End has ended and all messages that had arrived were returned.
	Receive(ctx context.Context) (Message, error)
}

// Raw is the byte stream of a stream: a net.Conn with deadlines. Its bytes arrive completely
// and in order, however slow the reader is; Write waits for the reader.
//
// Read returns io.EOF when the peer has ended its bytes in order and all of them were read.
// If the connection was lost, or if a Write of the peer was cut off by its Close, Read
// returns the received bytes and then an error that matches [ErrConnectionLost] or is a
// [*StreamError], never io.EOF.
//
// Write returns net.ErrClosed after Close of this side, io.ErrClosedPipe after Close of the
// peer, and an error that matches [ErrConnectionLost] after the loss of the connection.
//
// Close ends the stream in both directions. Bytes that were written before are delivered.
type Raw net.Conn

// RawRPCMessager has the three kinds of communication of a stream: bytes, calls and messages.
type RawRPCMessager interface {
	Raw
	RPCer
	Messager
}

// Side is one of the two sides of a connection or of a stream.
type Side int

const (
	// InitiatorSide is the side that dialled the connection, or opened the stream.
	InitiatorSide Side = 0
	// RecipientSide is the side that accepted the connection or the stream.
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

// Stream is one of the independent streams of a connection. A stream that is not read, or
// whose handlers are slow, does not delay other streams. All methods are safe for concurrent
// use.
type Stream interface {
	RawRPCMessager

	// StreamID returns the id of the stream. Both sides have the same id, which is
	// never 0.
	StreamID() uint64

	// ClientID returns the id of the client of the connection. Both sides have the
	// same id, which is never 0.
	ClientID() uint64

	// Meta returns the description that the opener has set in its options; for an
	// End, the description that the client has set. Both sides have the same
	// description. The caller must not change it. It is nil if none was set.
	Meta() []byte

	// Side returns InitiatorSide at the side that opened the stream, and for an End
	// at the client.
	Side() Side

	// Peer returns the name that the opener has set with options.SetPeer, by default
	// the empty string.
	Peer() string
}

// Multiplexer opens and accepts streams. All methods are safe for concurrent use.
type Multiplexer interface {
	// OpenStream opens a stream and waits until the peer has accepted it. Nil
	// options are skipped, and later ones take precedence. The error is
	//
	//   - a [*RefusedError] if the peer refuses the stream,
	//   - context.DeadlineExceeded after the timeout of opts; by default there is none,
	//   - [ErrGoingAway] if one side is shutting down,
	//   - [ErrTooLarge] or [ErrTooMany], with a [*LimitError], if a limit is exceeded,
	//   - io.EOF itself after the end of the End.
	OpenStream(opts ...*options.OpenStreamOptions) (Stream, error)

	// AcceptStream returns the next stream that the peer has opened, and waits if
	// there is none. It returns io.EOF itself after the end of the End.
	AcceptStream() (Stream, error)

	// ListStreams returns the open streams in no particular order. The End itself,
	// which is the default stream, is among them. After the end of the End the result
	// is empty.
	ListStreams() []Stream
}

// End is one side of a connection. The two sides have the same methods.
//
// An End is also its own default stream, whose id is 1 at both sides, and a net.Listener for
// the streams that the peer opens: Accept is AcceptStream, and Addr is LocalAddr. All methods
// are safe for concurrent use.
type End interface {
	Stream
	Multiplexer
	net.Listener

	// Close ends all streams and the connection. It waits until the bytes and
	// messages that were sent before are delivered, for at most the linger time of
	// the End (by default 5 seconds). Operations that wait return at once. Close of
	// a closed End returns nil.
	Close() error
}
