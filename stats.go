package geminio

import (
	"context"
	"net"
	"time"

	"github.com/singchia/geminio/options"
)

// Stats is a set of functions that are called with the events of an End and its streams, for
// metrics and the like. Each of them may be nil. SetStats of the options of client and server adds
// a Stats to an End. An End without Stats takes no time and no memory for them.
//
// A function is called synchronously, by the goroutine in which the event happens, which may be the
// one that reads the connection. So it must return quickly: it must not block, must not use methods
// of the End that wait, Close among them, and must not call runtime.Goexit. Different goroutines
// may call the same function at the same time. A panic is logged, and has no other effect. An event
// is passed by value and costs no allocation.
//
// Each Begin is followed by one End at the same Stats, at the latest when the connection has ended.
// So the number of connections, streams, calls and messages in flight is the number of their Begins
// less that of their Ends. Events of different things may be reported in another order than that in
// which they have happened.
//
// On an End that reconnects, a call and a publication of this side are reported once, from the
// beginning to the outcome that the caller sees, however often they are sent. Middleware is outside
// of them: a [CallMiddleware] that calls next twice makes two calls.
//
// [SnapshotOf] returns the present state of an End, without any Stats.
type Stats struct {
	// ConnBegin is called when the handshake of a connection is done. A client that reconnects
	// has one connection after the other. A resumed session is still the same connection.
	ConnBegin func(ConnEvent)
	// ConnEnd is called when a connection has ended. Bytes that were written before may still be
	// under way.
	ConnEnd func(ConnEvent)
	// ConnInterrupted is called when a connection has lost its transport and waits to be
	// resumed. ConnResumed or ConnEnd follows.
	ConnInterrupted func(ConnEvent)
	// ConnResumed is called when a connection continues on another transport.
	ConnResumed func(ConnEvent)
	// HandshakeFailed is called when there is no End for a connection: the handshake has failed,
	// one side has refused the other, or the methods of SetRegisterLocalRPCs and
	// SetWaitRemoteRPCs were not exchanged. A server reports clients that AcceptEnd does not
	// return. A client reports each failed attempt to connect, also one of its dialer. If the
	// methods were not exchanged, ConnBegin and ConnEnd are called too.
	HandshakeFailed func(HandshakeEvent)

	// StreamBegin is called when this side's stream was accepted, and when the peer asks to open
	// a stream. The default stream of an End is not reported.
	StreamBegin func(StreamEvent)
	// StreamEnd is called when a stream has ended on this side, or when this side has refused
	// it.
	StreamEnd func(StreamEvent)

	// CallBegin is called when this side begins a call, and when a call of the peer has arrived.
	CallBegin func(CallEvent)
	// CallEnd is called with the outcome of a call of this side, and when the response to a call
	// of the peer is queued. If the connection ends first, CallEnd is called then, though the
	// handler may still run.
	CallEnd func(CallEvent)

	// MessageBegin is called when this side begins to publish a message, and when Receive
	// returns one. A copy of a message that was handed out before is not reported.
	MessageBegin func(MessageEvent)
	// MessageEnd is called with the outcome of a publication of this side, and when a received
	// message was answered. A received message that is delivered at most once ends when it
	// begins. If the stream ends first, MessageEnd is called then.
	MessageEnd func(MessageEvent)

	// Stalled is called when a Write, a call, a message or an answer of this side has waited for
	// credit of the peer, after the wait.
	Stalled func(StallEvent)
}

// StatsOptions has the Stats of an End. The options of client and server embed it. SetStats adds to
// what earlier calls have set, and merged options have the Stats of all of them in their order.
type StatsOptions struct {
	Stats []Stats `merge:"append"`
}

// SetStats adds functions that are called with the events of the End and its streams. An event is
// passed to all of them, in their order.
func (o *StatsOptions) SetStats(s ...Stats) { o.Stats = append(o.Stats, s...) }

// Direction says which side has begun something.
type Direction uint8

const (
	// Outgoing: this side has begun it.
	Outgoing Direction = iota
	// Incoming: the peer has begun it.
	Incoming
)

// String returns "outgoing" or "incoming".
func (d Direction) String() string {
	if d == Outgoing {
		return "outgoing"
	}
	return "incoming"
}

// Outcome is how something has ended. In an event of a beginning it is zero, and so is the outcome
// of a success.
type Outcome struct {
	// Code classifies Err. The peer may choose any code that is not one of the constants, so a label
	// of a metric should have one value for all others. It is that of [CodeOf] for an error of a
	// handler, a receiver or the delegate of a server, with these exceptions. It is CodeClosed if
	// the stream or the connection has ended, if there was no connection, and if a client itself
	// has declined the connection (ConnOnline, SetPrepareFunc); CodeGoingAway for
	// [ErrGoingAway]; CodeNoMethod for [ErrRemoteRPCUnregistered]; CodeProtocol and
	// CodeVersion for [ErrProtocol] and [ErrVersion]; CodeReplaced for [ErrReplaced];
	// CodeDeadline for [ErrHandshakeTimeout].
	Code Code
	// Err is the error, nil for a success and for an orderly end.
	Err error
}

// ConnEvent is an event of a connection.
type ConnEvent struct {
	// End is the End of the connection, as the program has it.
	End End
	// Side is the side of the connection.
	Side Side
	// LocalAddr and RemoteAddr are those of the transport; in ConnInterrupted and ConnEnd those
	// of the last one.
	LocalAddr, RemoteAddr net.Addr
	// Begin is the time at which the handshake was done.
	Begin time.Time
	// Duration is the time since Begin in ConnEnd, the time without a transport in ConnResumed,
	// and the time with the transport that was lost in ConnInterrupted.
	Duration time.Duration
	// Outcome is why the connection has ended or was interrupted.
	Outcome
}

// HandshakeEvent is a connection that has not become an End.
type HandshakeEvent struct {
	// Side is the side of the connection that reports the event.
	Side Side
	// RemoteAddr is the remote address of the transport. It is nil if a client's dialer has
	// failed.
	RemoteAddr net.Addr
	// Begin is the time at which the transport was accepted, or the client began to dial.
	Begin time.Time
	// Duration is the time since Begin.
	Duration time.Duration
	// Outcome is why it has failed. A refusal by the server has the code that the client gets.
	Outcome
}

// StreamEvent is the beginning or the end of a stream.
type StreamEvent struct {
	// End is the End of the stream, as the program has it.
	End End
	// Stream is the stream, without an OpenMiddleware or AcceptMiddleware.
	Stream Stream
	// Direction is Outgoing if this side has opened the stream.
	Direction Direction
	// Begin is the time at which this side asked for the stream, or the peer's request has arrived.
	Begin time.Time
	// Duration is the time since Begin; 0 in StreamBegin.
	Duration time.Duration
	// Outcome is why the stream has ended: nothing after Close of either side, a *StreamError
	// after a reset, and the error of the connection if that was lost.
	Outcome
}

// CallEvent is the beginning or the end of a call.
type CallEvent struct {
	// Context is that of the caller, or that of the handler.
	Context context.Context
	// End is the End of the call, as the program has it.
	End End
	// Stream is the stream of the call: the End itself for the default stream.
	Stream Stream
	// Direction is Outgoing for calls of this side, and Incoming for those of the peer.
	Direction Direction
	// Method is the called method. The peer chooses it for incoming calls, so a metric should
	// not have a label for every method. Registered tells the known ones.
	Method string
	// Registered reports whether the method is registered. It is false for other methods that a
	// hijack serves, since the peer can make up any number of them, and for outgoing calls.
	Registered bool
	// ID is that of the Request.
	ID uint64
	// RequestSize is the length of the data and the custom of the request, in bytes.
	RequestSize int
	// ResponseSize is the length of the data and the custom of the response, in bytes; 0 in
	// CallBegin, and if there is no response.
	ResponseSize int
	// Begin is the time of CallBegin.
	Begin time.Time
	// Duration is the time since Begin; 0 in CallBegin.
	Duration time.Duration
	// Outcome is that which the caller gets: the error that Call returns, or the one that was sent
	// to the peer.
	Outcome
}

// MessageEvent is the beginning or the end of the publication or the processing of a message.
type MessageEvent struct {
	// Context is that of Publish or Receive.
	Context context.Context
	// End is the End of the message, as the program has it.
	End End
	// Stream is the stream of the message: the End itself for the default stream.
	Stream Stream
	// Direction is Outgoing for messages that this side publishes, and Incoming for those that it
	// receives.
	Direction Direction
	// Topic is that of the message. The peer chooses it for incoming messages.
	Topic string
	// Cnss is that of the message.
	Cnss options.Cnss
	// ID is that of the Message.
	ID uint64
	// Size is the length of the data and the custom of the message, in bytes.
	Size int
	// Begin is the time of MessageBegin.
	Begin time.Time
	// Duration is the time since Begin; 0 in MessageBegin.
	Duration time.Duration
	// Outcome is the error that Publish returns, or the one with which the message was answered.
	Outcome
}

// StallEvent is a wait for credit.
type StallEvent struct {
	// End is the End of the stream, as the program has it.
	End End
	// Stream is the stream that has waited.
	Stream Stream
	// Credit is what was missing.
	Credit Credit
	// Begin is the time at which the wait began.
	Begin time.Time
	// Duration is the time that the wait has taken.
	Duration time.Duration
	// Outcome is why the wait has ended without credit.
	Outcome
}

// Credit is a kind of credit that a peer gives, and without which a sender waits.
type Credit uint8

const (
	// CreditRaw is room for the raw bytes of a stream: the peer reads too slowly.
	CreditRaw Credit = iota
	// CreditMessages is room for the small messages of a stream: the peer receives too slowly.
	CreditMessages
	// CreditHandlers is a free handler of the peer.
	CreditHandlers
	// CreditLargeMessages is memory of the peer for large messages.
	CreditLargeMessages
	// CreditLargeRequests is memory of the peer for large requests.
	CreditLargeRequests
	// CreditLargeResponses is memory of the peer for large responses.
	CreditLargeResponses
)

// creditNames has the names of the constants above.
var creditNames = [...]string{"raw", "messages", "handlers", "large-messages", "large-requests", "large-responses"}

// String returns the name of the kind, such as "raw" or "large-requests".
func (c Credit) String() string { return nameOf(creditNames[:], c) }
