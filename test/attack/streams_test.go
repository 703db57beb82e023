package attack

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

const (
	// backlog is how many of them may wait, by default.
	backlog = 1024
	// opens is how many streams are opened that nobody accepts: a million, which take
	// about 3 s.
	opens = 1_000_000 / kit.Slowdown
	// perStream bounds what a stream holds that has neither meta nor bytes.
	perStream = 2 << 10
)

// A peer opens streams without end, and the application accepts none. Streams beyond the
// backlog are refused and leave no memory behind.
func TestManyStreamsThatNobodyAccepts(t *testing.T) {
	overTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		start := time.Now()
		// No more under way than the server may have refusals waiting.
		const burst = 4 << 10
		for done := 0; done < opens; done += burst {
			n := a.flood(burst, func(b []byte, i int) []byte { return open(b, number(done+i), nil) })
			require.Equal(t, burst, n, "the connection goes on")
			a.until(func() bool { return a.counts[packet.TypeAccept]+a.counts[packet.TypeRefuse] >= done+burst })
		}
		rounds := (opens + burst - 1) / burst * burst
		t.Logf("%d opens in %v", rounds, time.Since(start))
		require.Equal(t, backlog, a.count(packet.TypeAccept), "streams that were accepted")
		require.Equal(t, rounds-backlog, a.count(packet.TypeRefuse), "streams that were refused")
		n, err := packet.ParseReason(packet.TypeRefuse, a.wait(packet.TypeRefuse, 1, "a refusal"))
		require.NoError(t, err)
		require.Equal(t, geminio.CodeLimit, geminio.Code(n.Code))
		require.Equal(t, "too many streams: 1024 are open", n.Text)
		s.wantService("meanwhile")
		before.wantAtMost(t, backlog*perStream+connHeap, connGoroutines+4, "streams that nobody accepts")
		a.leave()
		a.wantEnd("the attacker leaves")
		s.dropEnd(a)
		before.wantLeft(t, connHeap, 4, "after it")
	})
}

// As TestManyStreamsThatNobodyAccepts, with a backlog below the limit of open streams.
func TestBacklogOfStreamsIsBounded(t *testing.T) {
	const few = 16
	limit := func(o *server.EndOptions) { o.SetAcceptBacklog(few) }
	onPipeAndTCP(t, serverSetup{options: limit}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		a.flood(4*few, func(b []byte, i int) []byte { return open(b, number(i), nil) })
		n, err := packet.ParseReason(packet.TypeRefuse, a.wait(packet.TypeRefuse, 3*few, "all beyond the backlog are refused"))
		require.NoError(t, err)
		require.Equal(t, "too many streams: 16 wait to be accepted", n.Text)
		_, err = a.end.AcceptStream()
		require.NoError(t, err)
		a.mustSend(open(nil, number(4*few), nil), "one more, when one was taken")
		a.wait(packet.TypeAccept, few+1, "is accepted")
		s.wantService("meanwhile")
		before.wantAtMost(t, few*perStream+connHeap, connGoroutines+4, "streams that wait")
	})
}

// As TestManyStreamsThatNobodyAccepts, with as much peer and meta in each open frame as
// fit. The number of streams and the largest frame bound the memory.
func TestStreamsWithLargeMeta(t *testing.T) {
	const (
		streams = 64
		meta    = packet.DefaultMaxFrame - 10
		// A meta is kept in memory of its length, rounded up to pages.
		heap = streams*(packet.DefaultMaxFrame+8<<10+perStream) + connHeap
	)
	limit := func(o *server.EndOptions) { o.SetMaxStreams(streams) }
	onPipeAndTCP(t, serverSetup{options: limit}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		n := a.flood(4*streams, func(b []byte, i int) []byte { return open(b, number(i), make([]byte, meta)) })
		require.Equal(t, 4*streams, n)
		a.wait(packet.TypeRefuse, 3*streams, "all beyond the limit are refused")
		s.wantService("meanwhile")
		before.wantAtMost(t, heap, connGoroutines+4, "streams with 64 KiB about each")
	})
}

// Streams that the server has closed, and the peer has not: all that is kept of them, with
// what the peer has said about each, is within a quarter of the memory budget.
func TestMetasOfStreamsThatThePeerDoesNotClose(t *testing.T) {
	const (
		budget = 17 << 20
		meta   = packet.DefaultMaxFrame - 10
		// A meta is kept in memory of its length, rounded up to pages.
		heap = budget/4 + budget/4/meta*(8<<10+perStream) + connHeap
	)
	closeAll := serverSetup{options: func(o *server.EndOptions) {
		o.SetMaxMessageSize(1 << 20)
		o.SetMemoryBudget(budget)
		o.SetAcceptStreamFunc(func(stream geminio.Stream) { stream.Close() })
	}}
	onPipeAndTCP(t, closeAll, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		i := 0
		for a.count(packet.TypeRefuse) == 0 {
			a.mustSend(open(nil, number(i), make([]byte, meta)), "one more stream")
			i++
			require.True(t, a.until(func() bool { return a.counts[packet.TypeAccept]+a.counts[packet.TypeRefuse] == i }), "an answer")
		}
		t.Logf("%d streams with metas of %d bytes", i-1, meta)
		require.Greater(t, i, budget/4/meta/2, "streams that there is room for")
		n, err := packet.ParseReason(packet.TypeRefuse, a.wait(packet.TypeRefuse, 1, "a refusal"))
		require.NoError(t, err)
		require.Equal(t, geminio.CodeLimit, geminio.Code(n.Code), n.Text)
		before.wantAtMost(t, heap, connGoroutines+4, "metas of streams that the peer does not close")
		s.wantService("meanwhile")
	})
}

// delegateCounts counts what a delegate is told.
type delegateCounts struct {
	*delegate.UnimplementedDelegate
	online, offline atomic.Int64
	gone            chan uint64 // clients whose ConnOffline has come
}

func (p *delegateCounts) DialogueOnline(delegate.DialogueDescriber) error {
	p.online.Add(1)
	return nil
}

func (p *delegateCounts) DialogueOffline(delegate.DialogueDescriber) error {
	p.offline.Add(1)
	return nil
}

func (p *delegateCounts) ConnOffline(c delegate.ConnDescriber) error {
	select {
	case p.gone <- c.ClientID():
	default:
	}
	return nil
}

// The first frame of a new stream is larger than the window of the stream, as in
// CVE-2026-32314. No part of the stream remains, and each DialogueOnline is followed by
// its DialogueOffline.
func TestFirstFrameBeyondTheWindow(t *testing.T) {
	const window = 16 << 10
	for name, late := range map[string]bool{"behind its open": false, "behind its accept": true} {
		t.Run(name, func(t *testing.T) {
			p := &delegateCounts{gone: make(chan uint64, 100)}
			onPipeAndTCP(t, serverSetup{options: func(o *server.EndOptions) { o.SetDelegate(p) }}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack().startReading()
				defer a.leave()
				first := open(nil, 3, nil)
				if late {
					a.mustSend(first, "a new stream")
					a.wait(packet.TypeAccept, 1, "it is accepted")
					first = nil
				}
				a.mustSend(data(first, 0, 3, make([]byte, window+1)), "more than its window")
				a.wantViolation("more than the window", fmt.Sprintf("raw bytes: %d sent with credit for %d", window+1, window))
				a.leave()
				for id := range p.gone {
					if id == a.end.ClientID() {
						break
					}
				}
				require.Equal(t, p.online.Load(), p.offline.Load(), "what came on line has gone off line")
				require.Empty(t, a.end.ListStreams(), "streams that are left")
				stream, err := a.end.AcceptStream()
				for err == nil { // what had come before the end may still be taken
					n, rerr := stream.Read(make([]byte, 1))
					require.Zero(t, n, "of the frame that was too large")
					require.Error(t, rerr)
					stream, err = a.end.AcceptStream()
				}
				s.wantService("after it")
				before.wantLeft(t, connHeap, connGoroutines, "a stream that began too large")
			})
		})
	}
}

// Open frames without windows, and with an invalid stream number.
func TestOpensThatBreakARule(t *testing.T) {
	windows := func(raw, messages uint32) []byte {
		return packet.AppendOpen(nil, 3, packet.Open{Windows: packet.Windows{Raw: raw, Messages: messages}})
	}
	for name, test := range map[string]struct {
		bytes []byte
		text  string
	}{
		"no window for bytes":    {windows(0, 1<<30), "windows of 0 and"},
		"no window for messages": {windows(1, 0), "windows of 1 and 0 bytes"},
		"the server's number":    {open(nil, 4, nil), "stream 4 cannot be opened by the peer"},
		"the default stream":     {open(nil, 1, nil), "stream 1 cannot be opened by the peer"},
		"a number twice":         {open(open(nil, 3, nil), 3, nil), "stream 3 cannot be opened by the peer, or was already"},
		"a lower number":         {open(open(nil, 9, nil), 5, nil), "stream 5 cannot"},
		"accept of nothing":      {packet.AppendAccept(nil, 2, packet.Windows{Raw: 1, Messages: 1 << 20}), "stream 2 was never opened"},
		"accept of its own":      {packet.AppendAccept(open(nil, 3, nil), 3, packet.Windows{Raw: 1, Messages: 1 << 30}), "stream 3 is not being opened"},
		"refuse of its own":      {packet.AppendReason(open(nil, 3, nil), packet.TypeRefuse, 3, packet.Reason{}), "stream 3 is not being opened"},
		"data of nothing":        {data(nil, 0, 77, []byte("x")), "data: stream 77 was never opened"},
		"a request of nothing":   {request(nil, 77, 1, "echo"), "request: stream 77 was never opened"},
	} {
		t.Run(name, func(t *testing.T) {
			onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack().startReading()
				defer a.leave()
				a.mustSend(test.bytes, "what breaks the rule")
				a.wantViolation("what breaks the rule", test.text)
				a.leave()
				s.wantService("after it")
				before.wantLeft(t, connHeap, connGoroutines, "a refused rule breaker")
			})
		})
	}
}

// A peer never answers the server's close of a stream. The server forgets the stream
// within two heartbeats. Until then the stream counts against the budget for windows only.
// Frames that arrive later are ignored.
func TestPeerThatNeverCloses(t *testing.T) {
	const (
		body    = 1 << 10
		streams = 8
		budget  = 4 * 4 * (1 << 10) * (streams + 1) // a quarter has the first windows of 18 streams
		fit     = 17                                // of them beside the default one
	)
	closeAll := serverSetup{
		options: func(o *server.EndOptions) {
			o.SetMaxMessageSize(body)
			o.SetMaxStreams(streams)
			o.SetMemoryBudget(budget)
			o.SetAcceptStreamFunc(func(stream geminio.Stream) { stream.Close() })
		},
	}
	inBubble(t, closeAll, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		i := 0
		next := func() (refused bool) {
			a.mustSend(open(nil, number(i), nil), "one more stream")
			i++
			require.True(t, a.until(func() bool {
				return a.counts[packet.TypeAccept]+a.counts[packet.TypeRefuse] == i && a.counts[packet.TypeData] == a.counts[packet.TypeAccept]
			}), "an answer, and the close that nobody answers: %+v", a.closeReason)
			return a.count(packet.TypeRefuse) > 0
		}
		start := time.Now()
		for !next() {
		}
		require.Equal(t, fit, i-1, "streams whose close was not answered, at a time")
		before.wantAtMost(t, fit*perStream+connHeap, connGoroutines, "streams whose close was not answered")
		a.mustSend(data(nil, 0, 3, []byte("late")), "what comes late is ignored")

		a.mustSend(packet.AppendPing(nil, packet.TypePing, 1), "life")
		time.Sleep(time.Until(start.Add(silence - time.Second)))
		a.mustSend(packet.AppendPing(nil, packet.TypePing, 1), "life")
		time.Sleep(time.Until(start.Add(silence + time.Second)))
		a.mustSend(open(nil, number(i), nil), "one more stream")
		a.wait(packet.TypeAccept, fit+1, "after two heartbeats there is room")
		a.mustSend(data(nil, packet.FlagFin|packet.FlagClose, 3, nil), "an answer that is too late")
		synctest.Wait()
		require.False(t, a.over(), "and the connection lives")
		s.wantService("after it")
	})
}

// Stream numbers near the largest one, and stream numbers 2^31 streams apart.
func TestStreamNumbersAreNotUsedAgain(t *testing.T) {
	echo := serverSetup{options: func(o *server.EndOptions) {
		o.SetAcceptStreamFunc(func(stream geminio.Stream) {
			go func() {
				defer stream.Close()
				b := make([]byte, 100)
				for {
					n, err := stream.Read(b)
					if err != nil {
						return
					}
					stream.Write(append(fmt.Append(nil, stream.StreamID(), " "), b[:n]...))
				}
			}()
		})
	}}
	onPipeAndTCP(t, echo, func(t *testing.T, s *targetServer) {
		a := s.attack().startReading()
		defer a.leave()
		numbers := []uint64{3, 3 + 1<<32, packet.MaxStreamID} // 3 again, if only 32 bits counted
		for i, id := range numbers {
			a.mustSend(open(nil, id, nil), "a number that is larger")
			a.wait(packet.TypeAccept, i+1, "is accepted")
		}
		require.Len(t, a.end.ListStreams(), 1+len(numbers))
		for i, id := range numbers {
			a.mustSend(data(nil, 0, id, []byte("hi")), "bytes for one of them")
			got := a.wait(packet.TypeData, i+1, "arrive there")
			require.Equal(t, fmt.Sprint(id, " hi"), string(got))
		}
		s.wantService("meanwhile")
		a.mustSend(data(nil, packet.FlagFin|packet.FlagClose, 3, nil), "the first is closed")
		a.wait(packet.TypeData, len(numbers)+1, "which is answered")
		a.mustSend(open(nil, 3, nil), "and its number used again")
		a.wantViolation("a number that was used", "stream 3 cannot be opened by the peer, or was already")
		a.leave()
		s.wantService("after it")
	})
}

// A simulation of 2^31 streams uses the numbers of one stream in a million, each above the
// previous one. No stream is mistaken for another.
func TestTwoToThe31Streams(t *testing.T) {
	const (
		step   = 1 << 20 // numbers between two streams, in streams
		rounds = 1 << 31 / step
	)
	closeAll := serverSetup{options: func(o *server.EndOptions) {
		o.SetAcceptStreamFunc(func(stream geminio.Stream) { stream.Close() })
	}}
	onPipeAndTCP(t, closeAll, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		for i := range rounds {
			id := number(i * step)
			a.mustSend(open(nil, id, nil), "a stream")
			a.wait(packet.TypeData, i+1, "it is accepted, and closed by the server")
			a.mustSend(data(nil, packet.FlagFin|packet.FlagClose, id, nil), "and by the peer")
		}
		waitFor(t, "all streams are gone", func() bool { return len(a.end.ListStreams()) == 1 })
		require.False(t, a.over())
		s.wantService("after them")
		before.wantAtMost(t, connHeap, connGoroutines+4, "2^31 streams that are gone")
	})
}
