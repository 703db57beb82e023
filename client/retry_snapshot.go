package client

// This file takes snapshots of a RetryEnd. The counters of its former connections are added up when
// the next one takes their place.

import (
	"bytes"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/multiplexer"
)

// counter counts the operations of one kind of a RetryEnd.
type counter struct {
	begun, ended atomic.Uint64
}

// counts returns the numbers as the user sees them.
func (n *counter) counts() geminio.Counts {
	ended := n.ended.Load() // before begun, which is not smaller
	begun := n.begun.Load()
	return geminio.Counts{Begun: begun, InFlight: begun - ended}
}

// formerCounts has the sums of the counters of former connections.
type formerCounts struct {
	sent, received                    geminio.Traffic
	outgoingStreams, incomingStreams  uint64
	incomingCalls, incomingMessages   uint64
	interruptions, resumes            uint64
	lastInterruption                  error
	outgoingCalls, outgoingMessages   uint64 // without those of the default stream
	streamCallsIn, streamMessagesIn   uint64 // of the default stream
	streamBytesSent, streamBytesBegun uint64 // of the default stream
}

// add adds the counters of l, which has ended.
func (n *formerCounts) add(l *link) {
	s, d := l.e.Snapshot(), l.e.StreamSnapshot()
	addTraffic(&n.sent, s.Sent)
	addTraffic(&n.received, s.Received)
	n.outgoingStreams += s.OutgoingStreams.Begun
	n.incomingStreams += s.IncomingStreams.Begun
	n.incomingCalls += s.IncomingCalls.Begun
	n.incomingMessages += s.IncomingMessages.Begun
	n.interruptions += s.Interruptions
	n.resumes += s.Resumes
	if s.LastInterruption != nil {
		n.lastInterruption = s.LastInterruption
	}
	n.outgoingCalls += without(s.OutgoingCalls, d.OutgoingCalls).Begun
	n.outgoingMessages += without(s.OutgoingMessages, d.OutgoingMessages).Begun
	n.streamCallsIn += d.IncomingCalls.Begun
	n.streamMessagesIn += d.IncomingMessages.Begun
	n.streamBytesSent += d.BytesSent
	n.streamBytesBegun += d.BytesReceived
}

// addTraffic adds n to sum.
func addTraffic(sum *geminio.Traffic, n geminio.Traffic) {
	sum.Bytes += n.Bytes
	sum.Frames += n.Frames
}

// Snapshot returns the state of the End at this moment. Its time does not depend on the number of
// streams, calls and messages. Stats has counters of reconnecting that the snapshot does not have.
func (r *RetryEnd) Snapshot() geminio.EndSnapshot {
	r.mu.Lock()
	l, former := r.last.Load(), r.former
	connections, waiting, waitingBytes := r.connections, r.waiting, r.waitingBytes
	cause, since, failure := r.cause, r.outage.since, r.outage.failure
	r.mu.Unlock()
	s := geminio.EndSnapshot{
		ClientID: r.ClientID(), Meta: bytes.Clone(r.Meta()), Side: geminio.InitiatorSide, State: geminio.EndPreparing, Wire: 2,
	}
	if l != nil {
		s = l.e.Snapshot()
		if s.State >= geminio.EndClosing && cause == nil {
			s.State, s.Since = geminio.EndReconnecting, since
		}
		if s.State == geminio.EndConnected && r.draining.Load() {
			s.State = geminio.EndDraining
		}
	}
	if cause != nil && s.State < geminio.EndClosing {
		s.State = geminio.EndClosed
	}
	s.Cause, s.Connections, s.LastFailure = cause, connections, failure
	s.WaitingForConnection, s.WaitingBytes = waiting, waitingBytes
	addTraffic(&s.Sent, former.sent)
	addTraffic(&s.Received, former.received)
	s.OutgoingStreams.Begun += former.outgoingStreams
	s.IncomingStreams.Begun += former.incomingStreams
	s.IncomingCalls.Begun += former.incomingCalls
	s.IncomingMessages.Begun += former.incomingMessages
	s.Interruptions += former.interruptions
	s.Resumes += former.resumes
	if s.LastInterruption == nil {
		s.LastInterruption = former.lastInterruption
	}
	// Those of streams are counted by the connections, and those of the End once, however often
	// they are sent.
	own, messages := r.callCounts.counts(), r.messageCounts.counts()
	if l != nil {
		d := l.e.StreamSnapshot()
		s.OutgoingCalls = without(s.OutgoingCalls, d.OutgoingCalls)
		s.OutgoingMessages = without(s.OutgoingMessages, d.OutgoingMessages)
	}
	s.OutgoingCalls.Begun += former.outgoingCalls
	s.OutgoingMessages.Begun += former.outgoingMessages
	s.OutgoingCalls = sum(s.OutgoingCalls, own)
	s.OutgoingMessages = sum(s.OutgoingMessages, messages)
	return s
}

// without returns a without b, a part of it that was counted at a slightly different time.
func without(a, b geminio.Counts) geminio.Counts {
	return geminio.Counts{Begun: a.Begun - min(a.Begun, b.Begun), InFlight: a.InFlight - min(a.InFlight, b.InFlight)}
}

// sum returns the sum of a and b.
func sum(a, b geminio.Counts) geminio.Counts {
	return geminio.Counts{Begun: a.Begun + b.Begun, InFlight: a.InFlight + b.InFlight}
}

// StreamSnapshot returns the state of the default stream at this moment. Its counters include those
// of former connections.
func (r *RetryEnd) StreamSnapshot() geminio.StreamSnapshot {
	r.mu.Lock()
	l, former := r.last.Load(), r.former
	r.mu.Unlock()
	s := geminio.StreamSnapshot{StreamID: multiplexer.DefaultID, ClientID: r.ClientID(), Meta: bytes.Clone(r.Meta())}
	if l != nil {
		s = l.e.StreamSnapshot()
	}
	s.BytesSent += former.streamBytesSent
	s.BytesReceived += former.streamBytesBegun
	s.OutgoingCalls, s.OutgoingMessages = r.callCounts.counts(), r.messageCounts.counts()
	s.IncomingCalls.Begun += former.streamCallsIn
	s.IncomingMessages.Begun += former.streamMessagesIn
	return s
}

// Calls returns the calls in flight of the End and its streams, the oldest first: at most limit of
// them, and all if limit is 0 or less.
func (r *RetryEnd) Calls(limit int) []geminio.CallSnapshot {
	var all []geminio.CallSnapshot
	if l := r.last.Load(); l != nil {
		all = l.e.Calls(limit)
	}
	r.mu.Lock()
	for w := r.waitingCalls.First(); w != nil; w = w.link.Next() {
		all = append(all, geminio.CallSnapshot{
			Direction: geminio.Outgoing, Method: w.method, StreamID: multiplexer.DefaultID, Begin: w.begin, State: geminio.CallWaitsForConnection,
		})
	}
	r.mu.Unlock()
	slices.SortStableFunc(all, func(a, b geminio.CallSnapshot) int { return a.Begin.Compare(b.Begin) })
	if limit > 0 && len(all) > limit {
		all = all[:limit:limit]
	}
	return all
}

// Ping measures the round trip, as [geminio.Ping] says. Without a connection it waits for one, like
// a Call.
func (r *RetryEnd) Ping(ctx context.Context) (rtt time.Duration, err error) {
	if ctx == nil {
		return 0, nilarg.New("ping", "context")
	}
	if err := r.beginOperation(); err != nil {
		return 0, err
	}
	defer r.endOperation()
	op := operation{ctx: ctx, repeatable: true}
	err = r.do(&op, func(l *link, _ time.Duration) (err error) {
		rtt, err = l.e.Ping(ctx)
		return err
	})
	return rtt, err
}
