package rig

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
)

// Tally counts the events of Ends by their geminio.Stats, and compares them with each other and with
// snapshots: as many things have begun as have ended or are in flight. Its methods are safe for
// concurrent use.
type Tally struct {
	mu    sync.Mutex
	ends  map[geminio.End]map[string]*balance
	sums  bool    // ends has the sums of all Ends, for the key nil
	wrong []error // events that cannot be
}

// balance counts one kind of things of an End.
type balance struct{ begun, ended uint64 }

// NewTally returns a Tally without Ends.
func NewTally() *Tally { return &Tally{ends: make(map[geminio.End]map[string]*balance)} }

// NewSums returns a Tally that only has the sums of all Ends, and keeps none of them in memory.
func NewSums() *Tally {
	c := NewTally()
	c.sums = true
	return c
}

// Over returns an error unless everything that has begun has ended.
func (c *Tally) Over() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.wrong)
	for _, kinds := range c.ends {
		for kind, b := range kinds {
			if kind != "interruptions" && b.begun != b.ended { // the end of a connection ends an interruption
				all = append(all, fmt.Errorf("%d %s have begun, and %d have ended", b.begun, kind, b.ended))
			}
		}
	}
	return errors.Join(all...)
}

// Add adds the Tally to the options of both sides. It does not change co and so, which may be nil.
func (c *Tally) Add(co *client.EndOptions, so *server.EndOptions) (*client.EndOptions, *server.EndOptions) {
	withClient, withServer := client.NewEndOptions(), server.NewEndOptions()
	withClient.SetStats(c.Stats())
	withServer.SetStats(c.Stats())
	return client.MergeEndOptions(co, withClient), server.MergeEndOptions(so, withServer)
}

// Stats returns functions that count.
func (c *Tally) Stats() geminio.Stats {
	return geminio.Stats{
		ConnBegin:       func(ev geminio.ConnEvent) { c.begin(ev.End, "connections", ev.Outcome) },
		ConnEnd:         func(ev geminio.ConnEvent) { c.end(ev.End, "connections", ev.Outcome, ev.Duration) },
		ConnInterrupted: func(ev geminio.ConnEvent) { c.begin(ev.End, "interruptions", geminio.Outcome{}) },
		ConnResumed:     func(ev geminio.ConnEvent) { c.end(ev.End, "interruptions", ev.Outcome, ev.Duration) },
		StreamBegin:     func(ev geminio.StreamEvent) { c.begin(ev.End, ev.Direction.String()+" streams", ev.Outcome) },
		StreamEnd:       func(ev geminio.StreamEvent) { c.end(ev.End, ev.Direction.String()+" streams", ev.Outcome, ev.Duration) },
		CallBegin:       func(ev geminio.CallEvent) { c.begin(ev.End, ev.Direction.String()+" calls", ev.Outcome) },
		CallEnd:         func(ev geminio.CallEvent) { c.end(ev.End, ev.Direction.String()+" calls", ev.Outcome, ev.Duration) },
		MessageBegin:    func(ev geminio.MessageEvent) { c.begin(ev.End, ev.Direction.String()+" messages", ev.Outcome) },
		MessageEnd: func(ev geminio.MessageEvent) {
			c.end(ev.End, ev.Direction.String()+" messages", ev.Outcome, ev.Duration)
		},
	}
}

// begin counts a beginning.
func (c *Tally) begin(e geminio.End, kind string, o geminio.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of(e, kind).begun++
	if o != (geminio.Outcome{}) {
		c.wrong = append(c.wrong, fmt.Errorf("%s begin with the outcome %v", kind, o))
	}
}

// end counts an end.
func (c *Tally) end(e geminio.End, kind string, o geminio.Outcome, lasted time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.of(e, kind)
	b.ended++
	switch {
	case len(c.wrong) > 10:
	case b.ended > b.begun:
		c.wrong = append(c.wrong, fmt.Errorf("%d %s have ended, and %d have begun", b.ended, kind, b.begun))
	case (o.Code == geminio.CodeOK) != (o.Err == nil):
		c.wrong = append(c.wrong, fmt.Errorf("%s end with the code %d and the error %v", kind, o.Code, o.Err))
	case lasted < 0:
		c.wrong = append(c.wrong, fmt.Errorf("%s have lasted %v", kind, lasted))
	}
}

// of returns the balance of a kind. c.mu is held.
func (c *Tally) of(e geminio.End, kind string) *balance {
	if c.sums {
		e = nil
	}
	if c.ends[e] == nil {
		c.ends[e] = make(map[string]*balance)
	}
	b := c.ends[e][kind]
	if b == nil {
		b = &balance{}
		c.ends[e][kind] = b
	}
	return b
}

// Match compares the events of an End with its snapshot, when nothing begins or ends.
func (c *Tally) Match(e geminio.End) error {
	s, ok := geminio.SnapshotOf(e)
	if !ok {
		return errors.New("the End has no snapshot")
	}
	open := uint64(0)
	if s.State < geminio.EndClosing && s.State != geminio.EndReconnecting {
		open = 1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.wrong)
	check := func(kind string, inFlight uint64) {
		if b := *c.of(e, kind); b.begun != b.ended+inFlight {
			all = append(all, fmt.Errorf("%v: %d %s have begun, %d have ended, and the snapshot has %d in flight", s.Side, b.begun, kind, b.ended, inFlight))
		}
	}
	check("connections", open)
	check("outgoing streams", s.OutgoingStreams.InFlight)
	check("incoming streams", s.IncomingStreams.InFlight)
	check("outgoing calls", s.OutgoingCalls.InFlight)
	check("incoming calls", s.IncomingCalls.InFlight)
	check("outgoing messages", s.OutgoingMessages.InFlight)
	if b := *c.of(e, "incoming messages"); b.begun > b.ended+s.IncomingMessages.InFlight { // the others were not received
		all = append(all, fmt.Errorf("%v: %d incoming messages have begun, %d have ended, and the snapshot has %d in flight", s.Side, b.begun, b.ended, s.IncomingMessages.InFlight))
	}
	return errors.Join(all...)
}

// Check requires that Match has no error for any End, as soon as the events under way are over. It
// waits for them for some time.
func (c *Tally) Check(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	ends := slices.Collect(maps.Keys(c.ends))
	c.mu.Unlock()
	for _, e := range ends {
		var err error
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if err = c.Match(e); err == nil || time.Now().After(deadline) {
				break
			}
		}
		if err != nil {
			t.Errorf("the events of an End do not pair off: %v", err)
		}
	}
}

// Traffic compares what each of two Ends has sent with what the other has received, when nothing is
// under way. It compares nothing if one of them has had another connection.
func Traffic(a, b geminio.End) error {
	sa, _ := geminio.SnapshotOf(a)
	sb, _ := geminio.SnapshotOf(b)
	switch {
	case sa.Connections > 1 || sb.Connections > 1:
		return nil
	case sa.Sent != sb.Received:
		return fmt.Errorf("%v has sent %+v, and the other side has received %+v", sa.Side, sa.Sent, sb.Received)
	case sb.Sent != sa.Received:
		return fmt.Errorf("%v has sent %+v, and the other side has received %+v", sb.Side, sb.Sent, sa.Received)
	}
	return nil
}
