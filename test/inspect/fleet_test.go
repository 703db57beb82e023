package inspect

import (
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/singchia/geminio"
)

// fakeEnd is an End with a given state, for pictures and for texts that a real peer could send.
type fakeEnd struct {
	geminio.End // nil: methods that the pages do not use panic

	snap    geminio.EndSnapshot
	name    string
	streams []geminio.Stream
	calls   []geminio.CallSnapshot
}

func (e *fakeEnd) Snapshot() geminio.EndSnapshot { return e.snap }
func (e *fakeEnd) ListStreams() []geminio.Stream { return e.streams }
func (e *fakeEnd) Calls(n int) []geminio.CallSnapshot {
	if n > 0 && n < len(e.calls) {
		return e.calls[:n]
	}
	return e.calls
}

// fakeStream is a stream with a given state.
type fakeStream struct {
	geminio.Stream
	snap geminio.StreamSnapshot
}

func (s fakeStream) StreamSnapshot() geminio.StreamSnapshot { return s.snap }

// ends is a Source.
type ends []geminio.End

func (all ends) Ends() iter.Seq[geminio.End] {
	return func(yield func(geminio.End) bool) {
		for _, end := range all {
			if !yield(end) {
				return
			}
		}
	}
}

// methods are those that the devices of fleet call and serve.
var methods = []string{"status", "reboot", "config.get", "firmware.chunk", "readings.push"}

// fleet returns the Ends of a server with n devices, the same ones each time.
func fleet(n int) ends {
	random := rand.New(rand.NewPCG(7, 11))
	now := time.Now()
	all := make(ends, n)
	for i := range all {
		begin := now.Add(-time.Duration(random.Int64N(int64(90 * time.Hour))))
		received := now.Add(-time.Duration(random.Int64N(int64(20 * time.Second))))
		e := &fakeEnd{name: fmt.Sprintf("device-%04d", i+1), snap: geminio.EndSnapshot{
			ClientID: 0x1d3a_0000_0000 + random.Uint64N(1<<40), Side: geminio.RecipientSide, Wire: 2,
			LocalAddr:  &net.TCPAddr{IP: net.IPv4(10, 0, 4, 2), Port: 1211},
			RemoteAddr: &net.TCPAddr{IP: net.IPv4(10, 20, byte(random.IntN(64)), byte(1+random.IntN(250))), Port: 32768 + random.IntN(28000)},
			State:      geminio.EndConnected, Begin: begin, Since: begin, Connections: 1, LastReceived: received,
			RoundTrip:    time.Duration(400+random.IntN(90000)) * time.Microsecond,
			Sent:         geminio.Traffic{Bytes: random.Uint64N(1 << (12 + random.IntN(22))), Frames: random.Uint64N(90000)},
			Received:     geminio.Traffic{Bytes: random.Uint64N(1 << (12 + random.IntN(22))), Frames: random.Uint64N(90000)},
			MemoryBudget: 256 << 20, BudgetUsed: 768<<10 + random.Uint64N(1<<21),
			OutgoingCalls: geminio.Counts{Begun: random.Uint64N(4000)}, IncomingCalls: geminio.Counts{Begun: random.Uint64N(400)},
			OutgoingMessages: geminio.Counts{Begun: random.Uint64N(400)}, IncomingMessages: geminio.Counts{Begun: random.Uint64N(90000)},
		}}
		s := &e.snap
		switch {
		case i%13 == 5:
			s.State, s.Since = geminio.EndInterrupted, now.Add(-time.Duration(3+random.IntN(90))*time.Second)
			s.Interruptions, s.ReplayLog = 1, 18<<10
			s.LastInterruption = &net.OpError{Op: "read", Net: "tcp", Source: s.LocalAddr, Addr: s.RemoteAddr, Err: syscall.ECONNRESET}
		case i%17 == 9:
			s.State, s.Since = geminio.EndDraining, now.Add(-4*time.Second)
		case i%11 == 3:
			s.Interruptions, s.Resumes = 3, 3
			s.LastInterruption = geminio.ErrSilent
		case i%29 == 12:
			s.LastInterruption = io.ErrUnexpectedEOF
			s.Interruptions, s.Resumes = 1, 1
		}
		e.addStreams(random, now)
		for range random.IntN(4) * random.IntN(3) {
			e.addCall(random, now, time.Duration(random.Int64N(int64(900*time.Millisecond))))
		}
		if i%7 == 2 {
			e.addCall(random, now, time.Duration(12+random.IntN(200))*time.Second)
		}
		all[i] = e
	}
	return all
}

// addStreams adds the default stream and some others.
func (e *fakeEnd) addStreams(random *rand.Rand, now time.Time) {
	for i := range 1 + random.IntN(6) {
		s := geminio.StreamSnapshot{
			StreamID: uint64(1 + 2*i), ClientID: e.snap.ClientID, Side: geminio.RecipientSide,
			Begin: now.Add(-time.Duration(random.Int64N(int64(now.Sub(e.snap.Begin))))), Peer: "logs",
			BytesSent: random.Uint64N(1 << 24), BytesReceived: random.Uint64N(1 << 26),
			RawCredit: 256 << 10, MessageCredit: 256 << 10,
			RawWindow:     geminio.Window{Size: 256 << 10, Left: 256 << 10},
			MessageWindow: geminio.Window{Size: 256 << 10, Left: 256 << 10},
		}
		switch {
		case i == 0:
			s.Peer, s.Begin = "", e.snap.Begin
		case i == 2:
			s.Peer, s.Side = "firmware", geminio.InitiatorSide
			s.RawCredit, s.QueuedBytes, s.BlockedWrites = 0, 96<<10, 1
			s.BlockedSince = now.Add(-time.Duration(2+random.IntN(90)) * time.Second)
		case i == 3:
			s.Peer = "shell"
			s.RawWindow = geminio.Window{Size: 256 << 10, Left: 1 << 10, Held: 255 << 10}
		case i == 4:
			s.Peer, s.Receiving = "core-dump", geminio.HalfClosed
		}
		e.streams = append(e.streams, fakeStream{snap: s})
		if i > 0 {
			e.snap.IncomingStreams.Begun++
			e.snap.IncomingStreams.InFlight++
		}
	}
}

// addCall adds a call of an age.
func (e *fakeEnd) addCall(random *rand.Rand, now time.Time, age time.Duration) {
	c := geminio.CallSnapshot{
		Direction: geminio.Direction(random.IntN(2)), Method: methods[random.IntN(len(methods))], StreamID: 1,
		Number: random.Uint64N(4000), Begin: now.Add(-age), State: geminio.CallSent,
	}
	if c.Direction == geminio.Incoming {
		c.State = geminio.CallRunning
		e.snap.IncomingCalls.InFlight++
	} else {
		e.snap.OutgoingCalls.InFlight++
	}
	e.calls = append(e.calls, c)
	for i := len(e.calls) - 1; i > 0 && e.calls[i].Begin.Before(e.calls[i-1].Begin); i-- {
		e.calls[i], e.calls[i-1] = e.calls[i-1], e.calls[i]
	}
}
