package application

// This file takes snapshots of Ends, streams and calls.

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
)

// Snapshot returns the state of the End at this moment. Its time does not depend on the number of
// streams, calls and messages.
func (e *End) Snapshot() geminio.EndSnapshot {
	c := e.c.Snapshot()
	m := e.mux.Snapshot()
	s := geminio.EndSnapshot{
		ClientID: e.ClientID(), Meta: bytes.Clone(e.Meta()), Side: e.Side(), LocalAddr: e.LocalAddr(), RemoteAddr: e.RemoteAddr(),
		Wire: 2, State: endState(&c), Begin: c.Begin, Since: c.Since, Connections: 1,
		Interruptions: c.Interruptions, Resumes: c.Resumes, LastInterruption: c.LastInterruption,
		RoundTrip: e.c.RTT(), LastReceived: c.LastRead, Sent: geminio.Traffic(c.Sent), Received: geminio.Traffic(c.Received),
		UnacceptedStreams: m.Unaccepted, WaitingForCredit: m.Waiting, ReplayLog: c.Logged,
		MemoryBudget: e.cfg.MemoryBudget, BudgetUsed: m.Used,
	}
	if e.c.SpeaksWire1() {
		s.Wire, s.RoundTrip = 1, 0 // only that to the translator was measured
	}
	s.OutgoingCalls, s.OutgoingMessages = e.pending.counts()
	s.OutgoingMessages.Begun += m.MessagesSentOnce
	s.IncomingCalls = e.serving.counts()
	s.IncomingMessages = geminio.Counts{Begun: m.MessagesBegun, InFlight: uint64(max(e.unanswered.Load(), 0))}
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Cause = e.cause
	s.OutgoingStreams, s.IncomingStreams = e.streams[geminio.Outgoing].counts(), e.streams[geminio.Incoming].counts()
	return s
}

// counts returns n as the user sees it.
func (n *streamCount) counts() geminio.Counts {
	return geminio.Counts{Begun: n.begun, InFlight: uint64(n.open)}
}

// endState returns the state of an End whose connection has the state c.
func endState(c *conn.Snapshot) geminio.EndState {
	switch {
	case c.State == conn.Handshaking:
		return geminio.EndPreparing
	case c.State == conn.Closed:
		return geminio.EndClosed
	case c.State == conn.Closing:
		return geminio.EndClosing
	case c.Interrupted:
		return geminio.EndInterrupted
	case c.State == conn.Draining:
		return geminio.EndDraining
	}
	return geminio.EndConnected
}

// StreamSnapshot returns the state of the stream at this moment.
func (s *Stream) StreamSnapshot() geminio.StreamSnapshot {
	d := s.d.Snapshot()
	v := geminio.StreamSnapshot{
		StreamID: s.StreamID(), ClientID: s.ClientID(), Meta: bytes.Clone(s.Meta()), Peer: s.Peer(), Side: s.Side(),
		Begin: s.end.c.Time(d.Begin), Sending: halfStates[d.Sending], Receiving: halfStates[d.Receiving],
		BytesSent: d.BytesSent, BytesReceived: d.BytesBegun,
		OutgoingCalls: geminio.Counts{Begun: d.RequestsSent}, IncomingCalls: geminio.Counts{Begun: d.RequestsBegun},
		OutgoingMessages: geminio.Counts{Begun: d.MessagesSent}, IncomingMessages: geminio.Counts{Begun: d.MessagesBegun},
		RawCredit: d.RawCredit, MessageCredit: d.MessageCredit,
		RawWindow: geminio.Window(d.RawWindow), MessageWindow: geminio.Window(d.MessageWindow),
		QueuedBytes: d.Queued, WaitingForCredit: d.Waiting, BlockedWrites: d.Writes,
	}
	if d.BlockedSince > 0 {
		v.BlockedSince = s.end.c.Time(d.BlockedSince)
	}
	var unsent [pendingKinds]uint64
	v.OutgoingCalls.InFlight, v.OutgoingMessages.InFlight, unsent = s.end.pending.countsOf(s)
	v.OutgoingCalls.Begun += unsent[kindCall] // the dialogue counts packets that have their credit
	v.OutgoingMessages.Begun += unsent[kindMessage]
	v.IncomingCalls.InFlight = s.end.serving.countOf(s)
	s.mu.Lock()
	v.IncomingMessages.InFlight = uint64(s.unanswered)
	box := s.box
	s.mu.Unlock()
	if box != nil {
		v.Unreceived = box.len()
	}
	return v
}

// halfStates has the states of the raw bytes as the user sees them.
var halfStates = [...]geminio.HalfState{
	multiplexer.HalfOpen: geminio.HalfOpen, multiplexer.HalfEnding: geminio.HalfEnding, multiplexer.HalfEnded: geminio.HalfClosed,
}

// Calls returns the calls in flight of the End and its streams, the oldest first: at most limit of
// them, and all if limit is 0 or less.
func (e *End) Calls(limit int) []geminio.CallSnapshot {
	all := oldest{limit: limit}
	e.pending.addCalls(e.c, &all)
	e.serving.addCalls(e.c, &all)
	return all.get()
}

// oldest collects the oldest calls in flight. It keeps less than twice as many as it returns.
type oldest struct {
	limit int // 0 or less: all
	calls []geminio.CallSnapshot
}

// add adds a call.
func (o *oldest) add(c geminio.CallSnapshot) {
	o.calls = append(o.calls, c)
	if o.limit > 0 && len(o.calls) >= 2*o.limit+64 {
		o.calls = o.get()
	}
}

// get returns the oldest calls.
func (o *oldest) get() []geminio.CallSnapshot {
	slices.SortStableFunc(o.calls, func(a, b geminio.CallSnapshot) int { return a.Begin.Compare(b.Begin) })
	if o.limit > 0 && len(o.calls) > o.limit {
		return o.calls[:o.limit:o.limit]
	}
	return o.calls
}

// addCalls adds the calls of this side in flight.
func (t *pendingTable) addCalls(c *conn.Conn, all *oldest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.entries.all {
		if p.typ != packet.TypeRequest {
			continue
		}
		state := geminio.CallWaitsForCredit
		if p.sent.Load() {
			state = geminio.CallSent
		}
		all.add(geminio.CallSnapshot{
			Direction: geminio.Outgoing, Method: p.method, StreamID: p.s.StreamID(), Number: p.seq, Begin: c.Time(p.began), State: state,
		})
	}
}

// counts returns the counts of calls and messages.
func (t *pendingTable) counts() (calls, messages geminio.Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kinds[kindCall], t.kinds[kindMessage]
}

// countsOf returns how many calls and messages of s are in flight, and how many of each kind wait
// for credit.
func (t *pendingTable) countsOf(s *Stream) (calls, messages uint64, unsent [pendingKinds]uint64) {
	var n [pendingKinds]uint64
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := s.waiting.First(); p != nil; p = p.link.Next() {
		kind := kindOf(p.typ)
		n[kind]++
		if !p.sent.Load() {
			unsent[kind]++
		}
	}
	return n[kindCall], n[kindMessage], unsent
}

// addCalls adds the requests that are being served.
func (t *servingTable) addCalls(c *conn.Conn, all *oldest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for v := range t.all.all {
		all.add(v.snapshot(c))
	}
}

// snapshot returns the call of the peer. servingTable.mu is held.
func (v *serving) snapshot(c *conn.Conn) geminio.CallSnapshot {
	s := geminio.CallSnapshot{
		Direction: geminio.Incoming, Method: v.req.method, Number: v.seq, Begin: c.Time(v.began), State: geminio.CallRunning,
	}
	v.ctx.mu.Lock()
	defer v.ctx.mu.Unlock()
	stream := cmp.Or(v.s, v.asked, v.former.Value())
	if stream != nil {
		s.StreamID = stream.StreamID()
	}
	if v.callerErr != nil || v.s == nil {
		s.State = geminio.CallAbandoned
	}
	return s
}

// counts returns the counts of the requests.
func (t *servingTable) counts() geminio.Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return geminio.Counts{Begun: t.begun, InFlight: uint64(t.n.Load())}
}

// countOf returns how many requests of s are being served.
func (t *servingTable) countOf(s *Stream) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return uint64(s.serving.Len())
}

// len returns the number of messages.
func (b *inbox) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) - b.head
}

// Ping sends a heartbeat and returns the round trip when the peer has answered. It returns ctx's
// error if ctx ends earlier, io.EOF if the End has ended, and an error that matches
// errors.ErrUnsupported if the peer speaks wire 1.
func (e *End) Ping(ctx context.Context) (time.Duration, error) {
	if ctx == nil {
		return 0, nilarg.New("ping", "context")
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if e.c.SpeaksWire1() {
		return 0, fmt.Errorf("ping: the peer speaks wire 1: %w", errors.ErrUnsupported)
	}
	rtt, ok, err := e.c.RoundTrip(ctx, e.done)
	if !ok && err == nil {
		err = io.EOF
	}
	return rtt, err
}
