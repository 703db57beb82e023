package geminio

import (
	"context"
	"net"
	"time"
)

// This file has the snapshots of Ends and streams, behind optional interfaces like those of
// optional.go.

// Snapshotter is implemented by Ends.
type Snapshotter interface {
	// Snapshot returns the state of the End at this moment. It takes a few microseconds, however
	// many streams, calls and messages there are.
	Snapshot() EndSnapshot
}

// StreamSnapshotter is implemented by streams and, for their default streams, by Ends.
type StreamSnapshotter interface {
	// StreamSnapshot returns the state of the stream at this moment. Its time grows with the
	// number of calls in flight on the stream.
	StreamSnapshot() StreamSnapshot
}

// CallLister is implemented by Ends.
type CallLister interface {
	// Calls returns the calls in flight of the End and all its streams, in both directions, the
	// oldest first: at most max of them, and all if max is 0 or less. Its time grows with the
	// number of calls in flight.
	Calls(max int) []CallSnapshot
}

// Pinger is implemented by Ends.
type Pinger interface {
	// Ping sends a heartbeat to the peer, ahead of everything that is queued, and returns the
	// round trip when the peer has answered. The peer's program takes no part. Ping returns
	// ctx.Err() if ctx is done first, and io.EOF if the End has ended. On an End that
	// reconnects, Ping waits for a connection. Calls of Ping at the same time share a heartbeat,
	// and an End sends at most a hundred of them in a second. While one side is shutting down, the
	// answer may wait until work under way has ended. If the peer is one of the earlier library,
	// Ping returns an error that matches errors.ErrUnsupported.
	Ping(ctx context.Context) (time.Duration, error)
}

// SnapshotOf calls the Snapshot of an End. It reports false if e has none. See [Snapshotter].
func SnapshotOf(e End) (EndSnapshot, bool) {
	if e, ok := e.(Snapshotter); ok {
		return e.Snapshot(), true
	}
	return EndSnapshot{}, false
}

// StreamSnapshotOf calls the StreamSnapshot of a stream, or of an End for its default stream. It
// reports false if s has none. See [StreamSnapshotter].
func StreamSnapshotOf(s Stream) (StreamSnapshot, bool) {
	if s, ok := s.(StreamSnapshotter); ok {
		return s.StreamSnapshot(), true
	}
	return StreamSnapshot{}, false
}

// CallsOf calls the Calls of an End. It returns nil if e has none. See [CallLister].
func CallsOf(e End, max int) []CallSnapshot {
	if e, ok := e.(CallLister); ok {
		return e.Calls(max)
	}
	return nil
}

// Ping calls the Ping of an End. It returns an error that matches errors.ErrUnsupported if e has
// none. See [Pinger].
func Ping(ctx context.Context, e End) (time.Duration, error) {
	if e, ok := e.(Pinger); ok {
		return e.Ping(ctx)
	}
	return 0, unsupported("Ping")
}

// EndState is the state of an End in an [EndSnapshot].
type EndState uint8

const (
	// EndPreparing: the handshake is not done: the function of SetPrepareFunc runs.
	EndPreparing EndState = iota
	// EndConnected: calls, messages and bytes go both ways.
	EndConnected
	// EndInterrupted: the transport was lost, and the session waits to be resumed.
	EndInterrupted
	// EndReconnecting: an End that reconnects has no connection, and no session to resume.
	EndReconnecting
	// EndDraining: one side is shutting down. Work that began before continues.
	EndDraining
	// EndClosing: the End has ended, and the written bytes are being delivered.
	EndClosing
	// EndClosed: the End has ended.
	EndClosed
)

// nameOf returns the name of a constant, or "unknown" if it has none.
func nameOf[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

// endStateNames has the names of the constants above.
var endStateNames = [...]string{"preparing", "connected", "interrupted", "reconnecting", "draining", "closing", "closed"}

// String returns the name of the state, such as "connected".
func (s EndState) String() string { return nameOf(endStateNames[:], s) }

// Counts counts things of one kind and one direction.
type Counts struct {
	// Begun is how many have begun since the beginning.
	Begun uint64
	// InFlight is how many of them have not ended.
	InFlight uint64
}

// Ended returns how many have ended.
func (c Counts) Ended() uint64 { return c.Begun - c.InFlight }

// Traffic counts the bytes and frames of one direction of a connection. They are those of frames
// with their headers, apart from the handshake, heartbeats and the reports of received bytes that
// sessions exchange. What is sent again when a session is resumed counts once. So when nothing is
// under way, the traffic that one side has sent equals the traffic that the other has received, apart
// from the last frames of an End that is being closed. With a peer of the earlier library, it is the
// traffic of wire 2 to which the frames of that peer are translated.
type Traffic struct {
	Bytes  uint64
	Frames uint64
}

// EndSnapshot is the state of an End at one moment. Its parts are read one after the other, so
// numbers may differ a little if the End is in use.
//
// On an End that reconnects, the counters include those of earlier connections, and calls and
// messages of this side count once, however often they are sent.
type EndSnapshot struct {
	// ClientID, Meta, Side and the addresses are those of the End's methods. Meta is a copy. The
	// addresses are those of the last transport.
	ClientID              uint64
	Meta                  []byte
	Side                  Side
	LocalAddr, RemoteAddr net.Addr
	// Wire is the version of the wire that the peer speaks: 2, or 1 for a peer of the earlier
	// library.
	Wire int

	// State is the present state.
	State EndState
	// Begin is the time at which the connection has begun; for an End that reconnects, the
	// present or last connection.
	Begin time.Time
	// Since is the time at which State has begun. It is Begin if the state was always the same.
	Since time.Time
	// Cause is why the End has ended, as [Cause] returns it; nil before the end.
	Cause error
	// Connections is how many connections the End has had: 1, unless it reconnects.
	Connections uint64
	// Interruptions is how often a transport was lost while its session was kept, and Resumes
	// how often a session has continued on another transport.
	Interruptions, Resumes uint64
	// LastInterruption is why the last of these transports was lost; nil if none was.
	LastInterruption error
	// LastFailure is why the last attempt to connect of an End that reconnects has failed; nil
	// while it has a connection, and for other Ends.
	LastFailure error

	// RoundTrip is the last round trip that was measured over the present transport; 0 if none
	// was, as with a peer of the earlier library.
	RoundTrip time.Duration
	// LastReceived is the time at which the last byte has arrived. With a peer of the earlier
	// library, it may be later by the time of SetHeartbeat.
	LastReceived time.Time
	// Sent and Received count the traffic.
	Sent, Received Traffic

	// The streams that this side and the peer have opened, without the default stream.
	OutgoingStreams, IncomingStreams Counts
	// UnacceptedStreams is how many streams of the peer wait for AcceptStream.
	UnacceptedStreams int
	// The calls of this side and of the peer, on all streams. The calls of the peer in flight are
	// the running handlers. A call that fails before its request is made does not count.
	OutgoingCalls, IncomingCalls Counts
	// The messages of this side and of the peer, on all streams. Messages of this side are in
	// flight until they are answered. Those of the peer count when they arrive, and are in flight
	// until the program has answered them. Messages that are delivered at most once are never in
	// flight.
	OutgoingMessages, IncomingMessages Counts

	// WaitingForCredit is how many calls, messages and answers wait for credit of the peer.
	WaitingForCredit int
	// WaitingForConnection is how many operations of an End that reconnects wait for a
	// connection, and WaitingBytes the bytes of the requests and messages among them.
	WaitingForConnection, WaitingBytes int
	// ReplayLog is how many sent bytes the peer may not have. They are kept to be sent again when
	// the session is resumed.
	ReplayLog uint64
	// MemoryBudget is what the peer can make this side hold, as set by SetMemoryBudget, in
	// bytes. BudgetUsed is the part of it that windows of streams and packets that have arrived
	// use now.
	MemoryBudget, BudgetUsed uint64
}

// HalfState is the state of one direction of the raw bytes of a stream.
type HalfState uint8

const (
	// HalfOpen: bytes can be written, or can arrive.
	HalfOpen HalfState = iota
	// HalfEnding: the last byte was written or has arrived, and there are bytes that were not
	// sent or not read.
	HalfEnding
	// HalfClosed: no more bytes are sent or can be read.
	HalfClosed
)

// halfStateNames has the names of the constants above.
var halfStateNames = [...]string{"open", "ending", "closed"}

// String returns the name of the state, such as "open".
func (s HalfState) String() string { return nameOf(halfStateNames[:], s) }

// Window is the room that this side gives to the peer for one kind of data of a stream, in bytes.
type Window struct {
	// Size is the size of the window, which follows the path and the reader.
	Size uint32
	// Left is the number of bytes that the peer may still send.
	Left uint32
	// Held is the number of bytes that have arrived, and that the program has not read or received.
	Held uint32
}

// StreamSnapshot is the state of a stream at one moment.
type StreamSnapshot struct {
	// StreamID, ClientID, Meta, Peer and Side are those of the stream's methods. Meta is a copy.
	StreamID, ClientID uint64
	Meta               []byte
	Peer               string
	Side               Side

	// Begin is the time at which the stream was opened.
	Begin time.Time
	// Sending and Receiving are the states of the raw bytes of this side and of the peer.
	Sending, Receiving HalfState
	// BytesSent and BytesReceived count the raw bytes that were handed to the connection and
	// that have arrived.
	BytesSent, BytesReceived uint64

	// The calls and messages of this side and of the peer on the stream, as in EndSnapshot. For an End
	// that reconnects, they are those of its default stream.
	OutgoingCalls, IncomingCalls       Counts
	OutgoingMessages, IncomingMessages Counts
	// Unreceived is how many messages wait for Receive.
	Unreceived int

	// RawCredit and MessageCredit are what this side may send now without waiting for the peer:
	// raw bytes, and small messages.
	RawCredit, MessageCredit uint32
	// RawWindow and MessageWindow are the room that this side gives.
	RawWindow, MessageWindow Window
	// QueuedBytes is how many raw bytes and bytes of packets wait to be sent.
	QueuedBytes int
	// WaitingForCredit is how many calls, messages and answers wait for credit of the peer.
	WaitingForCredit int
	// BlockedSince is the time since which a Write has waited for credit; zero if none waits.
	BlockedSince time.Time
	// BlockedWrites is how many Writes wait, for credit or for their turn.
	BlockedWrites int
}

// CallState is the state of a call in flight.
type CallState uint8

const (
	// CallWaitsForConnection: a call of an End that reconnects waits for a connection.
	CallWaitsForConnection CallState = iota
	// CallWaitsForCredit: the request waits for credit of the peer.
	CallWaitsForCredit
	// CallSent: the request was queued or sent, and there is no response.
	CallSent
	// CallRunning: the handler runs, or is about to.
	CallRunning
	// CallAbandoned: the handler runs, and the caller no longer waits.
	CallAbandoned
)

// callStateNames has the names of the constants above.
var callStateNames = [...]string{"waits-for-connection", "waits-for-credit", "sent", "running", "abandoned"}

// String returns the name of the state, such as "running".
func (s CallState) String() string { return nameOf(callStateNames[:], s) }

// CallSnapshot is a call in flight.
type CallSnapshot struct {
	// Direction is Outgoing for calls of this side, and Incoming for those of the peer.
	Direction Direction
	// Method is the called method. The peer chooses it for incoming calls.
	Method string
	// StreamID is the id of the stream of the call.
	StreamID uint64
	// Number identifies the call among those of its direction on the connection, on both sides.
	// It is 0 while a call waits for a connection.
	Number uint64
	// Begin is the time at which the call has begun, or its request has arrived.
	Begin time.Time
	// State is how far the call has come.
	State CallState
}
