package inspect

import (
	"iter"
	"net"
	"time"

	"github.com/singchia/geminio"
)

// fakeEnd is an End with a given state.
type fakeEnd struct {
	geminio.End // nil: methods that the handler does not use panic

	snap    geminio.EndSnapshot
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

// fakeSource supplies Ends.
type fakeSource []*fakeEnd

func (all fakeSource) Ends() iter.Seq[geminio.End] {
	return func(yield func(geminio.End) bool) {
		for _, end := range all {
			if !yield(end) {
				return
			}
		}
	}
}

// fakeEnds returns n Ends. Each has a stream beside the default one, and a call that has begun as
// many milliseconds ago as its number says.
func fakeEnds(n int) fakeSource {
	now := time.Now()
	all := make(fakeSource, n)
	for i := range all {
		id := uint64(i + 1)
		all[i] = &fakeEnd{
			snap: geminio.EndSnapshot{
				ClientID: id, State: geminio.EndConnected, Side: geminio.RecipientSide, Wire: 2, Begin: now.Add(-time.Hour),
				RemoteAddr:    &net.TCPAddr{IP: net.IPv4(10, 0, byte(i>>8), byte(i)), Port: 4000},
				LocalAddr:     &net.TCPAddr{IP: net.IPv4(10, 1, 1, 1), Port: 1211},
				IncomingCalls: geminio.Counts{Begun: 1, InFlight: 1}, IncomingStreams: geminio.Counts{Begun: 1, InFlight: 1},
				Sent: geminio.Traffic{Bytes: uint64((i * 7919) % (n + 1))},
			},
			calls: []geminio.CallSnapshot{{
				Direction: geminio.Incoming, Method: "work", StreamID: 1, Number: id,
				Begin: now.Add(-time.Duration(id) * time.Millisecond), State: geminio.CallRunning,
			}},
			streams: []geminio.Stream{
				fakeStream{snap: geminio.StreamSnapshot{ClientID: id, StreamID: 1}},
				fakeStream{snap: geminio.StreamSnapshot{ClientID: id, StreamID: 3, Peer: "files"}},
			},
		}
	}
	return all
}
