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
	// backlog is the default number of streams that may wait to be accepted.
	backlog = 1024
	// opens is the number of streams that a peer opens. A million takes about 3 s.
	opens = 1_000_000 / kit.Slowdown
	// perStream bounds the bytes of a stream with neither meta nor data.
	perStream = 2 << 10
	// windowsPart is the part of the default memory budget for windows, names and metas, in bytes.
	windowsPart = 64<<20 + 64<<10
)

// A peer opens streams without end, and the application accepts none. Streams beyond the
// backlog are refused and leave no memory behind.
func TestManyStreamsThatNobodyAccepts(t *testing.T) {
	overTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		start := time.Now()
		// Fewer opens in flight than refusals that may wait.
		const burst = 4 << 10
		for done := 0; done < opens; done += burst {
			n := a.flood(burst, func(b []byte, i int) []byte { return open(b, number(done+i), nil) })
			require.Equal(t, burst, n, "opens that were sent before the connection ended")
			a.until(func() bool { return a.counts[packet.TypeAccept]+a.counts[packet.TypeRefuse] >= done+burst })
		}
		rounds := (opens + burst - 1) / burst * burst
		t.Logf("%d opens in %v", rounds, time.Since(start))
		require.Equal(t, backlog, a.count(packet.TypeAccept), "streams that were accepted")
		require.Equal(t, rounds-backlog, a.count(packet.TypeRefuse), "streams that were refused")
		n, err := packet.ParseReason(packet.TypeRefuse, a.wait(packet.TypeRefuse, 1, "a refusal"))
		require.NoError(t, err)
		require.Equal(t, geminio.CodeLimit, geminio.Code(n.Code))
		require.Equal(t, "too many streams: 1024 wait to be accepted", n.Text)
		s.wantService("during the attack")
		before.wantAtMost(t, backlog*perStream+connHeap, connGoroutines+4, "streams that are not accepted")
		a.leave()
		a.wantEnd("the attacker closed the connection")
		s.dropEnd(a)
		before.wantLeft(t, connHeap, 4, "after the attacker has left")
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
		n, err := packet.ParseReason(packet.TypeRefuse, a.wait(packet.TypeRefuse, 3*few, "a refusal of each stream above the backlog"))
		require.NoError(t, err)
		require.Equal(t, "too many streams: 16 wait to be accepted", n.Text)
		_, err = a.end.AcceptStream()
		require.NoError(t, err)
		a.mustSend(open(nil, number(4*few), nil), "a stream after the application has accepted one")
		a.wait(packet.TypeAccept, few+1, "the acceptance of the stream")
		s.wantService("during the attack")
		before.wantAtMost(t, few*perStream+connHeap, connGoroutines+4, "streams that wait to be accepted")
	})
}

// As TestManyStreamsThatNobodyAccepts, with as much peer and meta in each open frame as
// fit. The number of streams and the largest frame bound the memory.
func TestStreamsWithLargeMeta(t *testing.T) {
	const (
		streams = 64
		meta    = packet.DefaultMaxFrame - 10
		// The memory of a meta is its length, rounded up to pages.
		heap = streams*(packet.DefaultMaxFrame+8<<10+perStream) + connHeap
	)
	limit := func(o *server.EndOptions) { o.SetMaxStreams(streams) }
	onPipeAndTCP(t, serverSetup{options: limit}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		n := a.flood(4*streams, func(b []byte, i int) []byte { return open(b, number(i), make([]byte, meta)) })
		require.Equal(t, 4*streams, n)
		a.wait(packet.TypeRefuse, 3*streams, "a refusal of each stream above the limit")
		s.wantService("during the attack")
		before.wantAtMost(t, heap, connGoroutines+4, "streams with 64 KiB of meta each")
	})
}

// A peer opens as many streams as the memory budget allows, and fills all windows and the credit
// for large messages with bytes and small messages. The application reads nothing. The memory
// stays within the memory budget, with what the streams themselves and their queues need.
func TestAsManyStreamsAsTheBudgetAllowsAreFilled(t *testing.T) {
	const (
		body = 1000            // bytes of a message
		cost = body + 24 + 128 // of such a message
		part = windowsPart     // bytes of a quarter of the budget
		most = part/1024 - 1   // streams
	)
	w := serverSetup{options: func(o *server.EndOptions) { o.SetAcceptStreamFunc(func(geminio.Stream) {}) }}
	overTCP(t, w, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack()
		windows := make(map[uint64]packet.Windows)
		a.onAccept = func(stream uint64, w packet.Windows) { windows[stream] = w }
		a.startReading()
		defer a.leave()
		require.EqualValues(t, most, a.theirs.MaxStreams)
		const burst = 512
		done := 0
		for ; done < most+burst; done += burst {
			n := a.flood(burst, func(b []byte, i int) []byte { return open(b, number(done+i), nil) })
			require.Equal(t, burst, n, "opens that were sent before the connection ended")
			require.True(t, a.until(func() bool { return a.counts[packet.TypeAccept]+a.counts[packet.TypeRefuse] >= done+burst }))
		}
		require.Equal(t, most, a.count(packet.TypeAccept), "streams that were accepted")
		seq := uint64(0)
		given := 0
		for i := range most {
			id := number(i)
			w := windows[id]
			given += int(w.Raw) + int(w.Messages)
			var b []byte
			for left := int(w.Raw); left > 0; left -= 32 << 10 {
				b = data(b, 0, id, make([]byte, min(left, 32<<10)))
			}
			if w.Messages >= 2*cost {
				for left := w.Messages; left >= cost; left -= cost {
					seq++
					b = message(b, id, seq, make([]byte, body)...)
				}
			}
			a.mustSend(b, "bytes and messages within the windows of a stream")
		}
		require.LessOrEqual(t, given, part, "all windows")
		shared := int(a.theirs.Large) / cost
		n := a.flood(shared, func(b []byte, i int) []byte {
			seq++
			return withFlag(b, packet.FlagShared, message(nil, number(most-1-i%(most/2)), seq, make([]byte, body)...))
		})
		require.Equal(t, shared, n, "messages with the credit for large messages")
		a.mustSend(packet.AppendPing(nil, packet.TypePing, 1), "a ping behind everything")
		a.wait(packet.TypePong, 1, "the answer: the server has received everything")
		s.wantService("during the attack")
		before.wantAtMost(t, 4*part, connGoroutines+4, "streams that are full, within the whole budget")
		a.mustSend(withFlag(nil, packet.FlagShared, message(nil, number(most-1), seq+1, make([]byte, body)...)), "a message beyond the credit")
		a.wantViolation("a message beyond the credit", "large messages: 1152 sent with credit for")
	})
}

// withFlag appends a frame with a flag set.
func withFlag(b []byte, flag packet.Flags, frame []byte) []byte {
	frame[1] |= byte(flag)
	return append(b, frame...)
}

// A message whose class does not follow from the first window of its stream ends the connection.
func TestMessagesOfTheWrongClass(t *testing.T) {
	small := func(o *server.EndOptions) { o.SetBufferSize(1, 0) } // a window of 4 KiB
	for name, test := range map[string]struct {
		b    []byte
		text string
	}{
		"shared, but the stream's own": {withFlag(nil, packet.FlagShared, message(nil, 1, 1, 1)), "body of 25 bytes with flags 0x04 on stream 1"},
		"the stream's own, but shared": {message(nil, 1, 1, make([]byte, 3000)...), "body of 3024 bytes with flags 0x00 on stream 1"},
		"shared, and large":            {withFlag(nil, packet.FlagShared, message(nil, 1, 1, make([]byte, 20_000)...)), "body of 20024 bytes with flags 0x04 on stream 1"},
		"shared, and more follows":     {withFlag(nil, packet.FlagShared, frame(nil, packet.TypeMessage, 20_000, 1, 1, make([]byte, 100))), "flag shared on a fragment"},
		"a shared request":             {withFlag(nil, packet.FlagShared, request(nil, 1, 1, "echo")), "unknown flags 0x04"},
	} {
		t.Run(name, func(t *testing.T) {
			onPipeAndTCP(t, serverSetup{options: small}, func(t *testing.T, s *targetServer) {
				a := s.attack().startReading()
				defer a.leave()
				a.mustSend(test.b, "a message")
				a.wantViolation(name, test.text)
			})
		})
	}
}

// A peer does not close the streams that the server has closed. Their memory, with the names
// and metas, is at most a quarter of the memory budget.
func TestMetasOfStreamsThatThePeerDoesNotClose(t *testing.T) {
	const (
		budget = 17 << 20
		meta   = packet.DefaultMaxFrame - 10
		// The memory of a meta is its length, rounded up to pages.
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
			require.True(t, a.until(func() bool { return a.counts[packet.TypeAccept]+a.counts[packet.TypeRefuse] == i }), "the stream was neither accepted nor refused")
		}
		t.Logf("%d streams with metas of %d bytes", i-1, meta)
		require.Greater(t, i, budget/4/meta/3, "streams until the budget was used up")
		n, err := packet.ParseReason(packet.TypeRefuse, a.wait(packet.TypeRefuse, 1, "a refusal"))
		require.NoError(t, err)
		require.Equal(t, geminio.CodeLimit, geminio.Code(n.Code), n.Text)
		before.wantAtMost(t, heap, connGoroutines+4, "streams with metas that the peer does not close")
		s.wantService("during the attack")
	})
}

// delegateCounts is a delegate that counts its calls.
type delegateCounts struct {
	*delegate.UnimplementedDelegate
	online, offline atomic.Int64
	gone            chan uint64 // the ids of clients for which ConnOffline was called
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
			onPipeAndTCP(t, serverSetup{options: func(o *server.EndOptions) {
				o.SetDelegate(p)
				o.SetBufferSize(window>>12, 0)
			}}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack().startReading()
				defer a.leave()
				first := open(nil, 3, nil)
				if late {
					a.mustSend(first, "a new stream")
					a.wait(packet.TypeAccept, 1, "the acceptance of the stream")
					first = nil
				}
				a.mustSend(data(first, 0, 3, make([]byte, window+1)), "more bytes than the window of the stream")
				a.wantViolation("more bytes than the window of the stream", fmt.Sprintf("raw bytes: %d sent with credit for %d", window+1, window))
				a.leave()
				for id := range p.gone {
					if id == a.end.ClientID() {
						break
					}
				}
				require.Equal(t, p.online.Load(), p.offline.Load(), "DialogueOnline and DialogueOffline calls")
				require.Empty(t, a.end.ListStreams(), "streams after the end")
				stream, err := a.end.AcceptStream()
				for err == nil { // streams that arrived before the end can be accepted
					n, rerr := stream.Read(make([]byte, 1))
					require.Zero(t, n, "bytes of the frame above the window that were read")
					require.Error(t, rerr)
					stream, err = a.end.AcceptStream()
				}
				s.wantService("after the attack")
				before.wantLeft(t, connHeap, connGoroutines, "after a frame above the window")
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
		"no window for bytes":  {windows(0, 1<<30), "stream 3 has no credit for raw bytes"},
		"the server's number":  {open(nil, 4, nil), "stream 4 cannot be opened by the peer"},
		"the default stream":   {open(nil, 1, nil), "stream 1 cannot be opened by the peer"},
		"a number twice":       {open(open(nil, 3, nil), 3, nil), "stream 3 cannot be opened by the peer, or was already"},
		"a lower number":       {open(open(nil, 9, nil), 5, nil), "stream 5 cannot"},
		"accept of nothing":    {packet.AppendAccept(nil, 2, packet.Windows{Raw: 1, Messages: 1 << 20}), "stream 2 was never opened"},
		"accept of its own":    {packet.AppendAccept(open(nil, 3, nil), 3, packet.Windows{Raw: 1, Messages: 1 << 30}), "stream 3 is not being opened"},
		"refuse of its own":    {packet.AppendReason(open(nil, 3, nil), packet.TypeRefuse, 3, packet.Reason{}), "stream 3 is not being opened"},
		"data of nothing":      {data(nil, 0, 77, []byte("x")), "data: stream 77 was never opened"},
		"a request of nothing": {request(nil, 77, 1, "echo"), "request: stream 77 was never opened"},
	} {
		t.Run(name, func(t *testing.T) {
			onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack().startReading()
				defer a.leave()
				a.mustSend(test.bytes, "an invalid open frame")
				a.wantViolation("an invalid open frame", test.text)
				a.leave()
				s.wantService("after the attack")
				before.wantLeft(t, connHeap, connGoroutines, "after an invalid open frame")
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
		budget  = 4 * (1 << 10) * (streams + 1) // a quarter has room for 18 streams
		fit     = 17                            // streams beside the default one
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
		require.Equal(t, fit, i-1, "streams whose close was not answered at one time")
		before.wantAtMost(t, fit*perStream+connHeap, connGoroutines, "streams whose close was not answered")
		a.mustSend(data(nil, 0, 3, []byte("late")), "bytes for a stream that the server has closed")

		a.mustSend(packet.AppendPing(nil, packet.TypePing, 1), "life")
		time.Sleep(time.Until(start.Add(silence - time.Second)))
		a.mustSend(packet.AppendPing(nil, packet.TypePing, 1), "life")
		time.Sleep(time.Until(start.Add(silence + time.Second)))
		a.mustSend(open(nil, number(i), nil), "one more stream")
		a.wait(packet.TypeAccept, fit+1, "the acceptance of a stream after two heartbeats")
		a.mustSend(data(nil, packet.FlagFin|packet.FlagClose, 3, nil), "the answer to a close after two heartbeats")
		synctest.Wait()
		require.False(t, a.over(), "the connection ended after a late answer")
		s.wantService("after the attack")
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
		numbers := []uint64{3, 3 + 1<<32, packet.MaxStreamID} // the second is 3 too if only 32 bits count
		for i, id := range numbers {
			a.mustSend(open(nil, id, nil), "a stream with a larger number")
			a.wait(packet.TypeAccept, i+1, "the acceptance of the stream")
		}
		require.Len(t, a.end.ListStreams(), 1+len(numbers))
		for i, id := range numbers {
			a.mustSend(data(nil, 0, id, []byte("hi")), "bytes for one stream")
			got := a.wait(packet.TypeData, i+1, "the echo on the same stream")
			require.Equal(t, fmt.Sprint(id, " hi"), string(got))
		}
		s.wantService("during the attack")
		a.mustSend(data(nil, packet.FlagFin|packet.FlagClose, 3, nil), "the close of the first stream")
		a.wait(packet.TypeData, len(numbers)+1, "the answer to the close")
		a.mustSend(open(nil, 3, nil), "an open frame with the number of a closed stream")
		a.wantViolation("an open frame with the number of a closed stream", "stream 3 cannot be opened by the peer, or was already")
		a.leave()
		s.wantService("after the attack")
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
			a.wait(packet.TypeData, i+1, "the close of the stream by the server")
			a.mustSend(data(nil, packet.FlagFin|packet.FlagClose, id, nil), "the close of the stream by the peer")
		}
		waitFor(t, "the end of all streams", func() bool { return len(a.end.ListStreams()) == 1 })
		require.False(t, a.over())
		s.wantService("after the attack")
		before.wantAtMost(t, connHeap, connGoroutines+4, "2^31 streams that have ended")
	})
}
