package attack

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
)

func credit(stream uint64, class packet.Class, amount uint32) []byte {
	return packet.AppendCredit(nil, stream, packet.Credit{Class: class, Amount: amount})
}

// Credit frames that overflow, that have the amount 0 or an unknown class, or that name a
// stream that never existed.
func TestCreditThatCannotBe(t *testing.T) {
	const most = 1<<31 - 1
	for name, test := range map[string]struct {
		bytes []byte
		text  string
	}{
		"bytes beyond 2^31":            {credit(1, packet.ClassRaw, most), "raw bytes: 2147483647 on top of 1073741824 exceeds 2147483647"},
		"the sum of many":              {append(credit(1, packet.ClassRaw, 1<<30-1), credit(1, packet.ClassRaw, 1)...), "raw bytes: 1 on top of 2147483647"},
		"the largest number":           {credit(1, packet.ClassMessages, 1<<32-1), "messages: 4294967295 on top of"},
		"handlers beyond 2^31":         {credit(0, packet.ClassHandlers, most), "handlers: 2147483647 on top of"},
		"large messages beyond 2^31":   {credit(0, packet.ClassLargeMessages, most), "large messages: 2147483647 on top of"},
		"large responses beyond 2^31":  {credit(0, packet.ClassLargeResponses, most), "large responses: 2147483647 on top of"},
		"none":                         {credit(1, packet.ClassRaw, 0), "credit: an amount of 0"},
		"none, for the connection":     {credit(0, packet.ClassHandlers, 0), "credit: an amount of 0"},
		"no such class":                {credit(0, packet.Classes, 1), "credit: unknown class 6"},
		"bytes for the connection":     {credit(0, packet.ClassRaw, 1), "credit: raw bytes on stream 0"},
		"handlers for a stream":        {credit(1, packet.ClassHandlers, 1), "credit: handlers on stream 1"},
		"for a stream that never was":  {credit(99, packet.ClassRaw, 1), "credit: stream 99 was never opened"},
		"of a number that is too low":  {credit(2, packet.ClassRaw, 1), "credit: stream 2 was never opened"},
		"large, of none that ever was": {credit(99, packet.ClassLargeMessages, 1), "credit: stream 99 was never opened"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack().startReading()
				defer a.leave()
				a.mustSend(test.bytes, "an invalid credit frame")
				a.wantViolation("an invalid credit frame", test.text)
				a.leave()
				s.wantService("after the attack")
				before.wantLeft(t, connHeap, connGoroutines, "after an invalid credit frame")
			})
		})
	}
}

// Credit for a closed stream is ignored, however often it arrives.
func TestCreditAfterTheCloseIsIgnored(t *testing.T) {
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		const times = 10_000
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		a.mustSend(data(open(nil, 3, nil), packet.FlagFin|packet.FlagClose, 3, nil), "a stream that the peer closes at once")
		a.wait(packet.TypeData, 1, "the answer to the close")
		for name, late := range map[string][]byte{
			"bytes": credit(3, packet.ClassRaw, 1<<32-1), "messages": credit(3, packet.ClassMessages, 1<<32-1),
			"stop": packet.AppendReason(nil, packet.TypeStop, 3, packet.Reason{}), "reset": packet.AppendReason(nil, packet.TypeReset, 3, packet.Reason{}),
			"data": data(nil, 0, 3, make([]byte, 100)), "a message": message(nil, 3, 1),
		} {
			n := a.flood(times, func(b []byte, _ int) []byte { return append(b, late...) })
			require.Equal(t, times, n, name)
		}
		a.mustSend(request(nil, 1, 1, "echo"), "a call on the same connection")
		a.wait(packet.TypeResponse, 1, "the response")
		s.wantService("during the attack")
		before.wantAtMost(t, connHeap+perStream, connGoroutines+4, "credit for a closed stream")
	})
}

const (
	lawlessBody    = 64 << 10                            // bytes of the largest body
	lawlessStreams = 15                                  // streams
	lawlessPart    = lawlessBody + packet.MinLarge       // a quarter of the budget: one body
	lawlessHeap    = 3*lawlessPart + 2*16<<10 + connHeap // all of a connection's parts, or windows
)

// A peer sends more than its credit, in each class. The excess is not kept, and the error
// states both numbers.
func TestSenderThatIgnoresTheWindow(t *testing.T) {
	small := func(o *server.EndOptions) {
		o.SetMaxMessageSize(lawlessBody)
		o.SetMaxStreams(lawlessStreams)
		o.SetMemoryBudget(4 * lawlessPart)
	}
	large := func(typ packet.Type) func(i int) []byte {
		return func(i int) []byte {
			return frame(nil, typ, lawlessBody+packet.MaxHead, 1, uint64(i+1), make([]byte, 60<<10))
		}
	}
	// The budget and the number of streams determine the window, in bytes.
	window := (lawlessPart - int(multiplexer.LeastWindows(lawlessPart, 2*(lawlessStreams+1))) - 64*lawlessStreams) / 8
	for name, test := range map[string]struct {
		next func(i int) []byte
		fit  int // the number of frames with credit
		text string
	}{
		"raw bytes": {func(int) []byte { return data(nil, 0, 1, make([]byte, 100)) }, window / 100,
			fmt.Sprintf("raw bytes: 100 sent with credit for %d", window%100)},
		"small messages": {func(i int) []byte { return message(nil, 1, uint64(i+1), make([]byte, 100)...) }, window / (24 + 100 + 128),
			fmt.Sprintf("messages: 252 sent with credit for %d", window%252)},
		"large messages":  {large(packet.TypeMessage), 1, "large messages: 65568 sent with credit for 128"},
		"large requests":  {large(packet.TypeRequest), 1, "large requests: 65568 sent with credit for 128"},
		"large responses": {large(packet.TypeResponse), 1, "large responses: 65568 sent with credit for 128"},
		"small requests": {func(i int) []byte { return request(nil, 1, uint64(i+1), "ignore") }, 4096,
			"handlers: 1 sent with credit for 0"},
	} {
		t.Run(name, func(t *testing.T) {
			onPipeAndTCP(t, serverSetup{options: small}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack().startReading()
				defer a.leave()
				for i := range test.fit {
					a.mustSend(test.next(i), "a frame with credit")
				}
				a.send(test.next(test.fit)) // the first frame without credit
				a.wantViolation("a frame without credit", test.text)
				for i := range 100 { // the server must not keep these frames either
					if a.send(test.next(test.fit+1+i)) != nil {
						break
					}
				}
				s.wantService("during the attack")
				heap, goroutines := int64(lawlessHeap), connGoroutines+4
				if name == "small requests" {
					heap, goroutines = 4096*perHandler+handlerNoise, 4096+8
				}
				before.wantAtMost(t, heap, goroutines, "the frames with credit")
			})
		})
	}
}

// The application never reads one stream. The peer fills the stream and waits for credit.
// The stream costs its windows; calls on the same connection and on others take no time on
// the clock of the bubble.
func TestStreamThatNobodyReadsHoldsBackNobody(t *testing.T) {
	const (
		window = 16 << 10
		calls  = 1000
		// The chunks of a queue may have unused bytes.
		heap = 4*2*window + connHeap
	)
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		a.mustSend(open(nil, 3, nil), "a stream")
		a.wait(packet.TypeAccept, 1, "the acceptance of the stream")
		for _, id := range []uint64{1, 3} {
			n := a.flood(window, func(b []byte, _ int) []byte { return data(b, 0, id, []byte("x")) })
			require.Equal(t, window, n, "frames of one byte, a window of them")
		}
		a.mustSend(message(nil, 3, 1, make([]byte, 8000)...), "a message that the application does not receive")
		start := time.Now()
		for i := range calls {
			a.mustSend(request(nil, 1, uint64(i+2), "echo"), "a call on the same connection")
			a.wait(packet.TypeResponse, i+1, "the response")
		}
		for range calls {
			resp, err := s.goodClient.Call(t.Context(), "echo", s.goodClient.NewRequest([]byte("good")))
			require.NoError(t, err)
			require.Equal(t, "good", string(resp.Data()))
		}
		if s.l.Addr().Network() != "tcp" {
			require.Zero(t, time.Since(start), "the time that the calls took")
		}
		s.wantService("during the attack")
		a.mu.Lock()
		heard := a.last[packet.TypeCredit]
		a.mu.Unlock()
		if heard != nil { // the only credit must be that for calls
			c, err := packet.ParseCredit(heard, 0)
			require.NoError(t, err)
			require.Equal(t, packet.ClassHandlers, c.Class)
		}
		before.wantAtMost(t, heap, connGoroutines+4, "full windows of a stream that is not read")
		require.Equal(t, 2, len(a.end.ListStreams()), "open streams, with the default stream")
		n, err := a.end.Read(make([]byte, 2*window))
		require.NoError(t, err)
		require.Positive(t, n, "bytes of the stream that can be read")
	})
}

// The application reads for a while, so that the windows grow, and then stops.
// SetBufferSize bounds the bytes that one stream holds, and a quarter of the memory budget
// bounds those of all streams of a connection.
func TestGrownWindowsAreBounded(t *testing.T) {
	const (
		streams = 8
		limit   = 256 << 10 // of a window: 64 units of SetBufferSize
		// At least half of each chunk of a queue is used, except for the last chunk.
		heap  = streams*(2*limit+64<<10) + connHeap
		bytes = 32 << 20 // bytes of each stream that the application reads before it stops
	)
	w := serverSetup{options: func(o *server.EndOptions) {
		o.SetBufferSize(limit>>12, 0)
		o.SetMaxStreams(streams)
		o.SetAcceptStreamFunc(func(stream geminio.Stream) {
			go func() {
				b := make([]byte, 64<<10)
				for read := 0; read < bytes/streams; {
					n, err := stream.Read(b)
					if err != nil {
						return
					}
					read += n
				}
			}()
		})
	}}
	overTCP(t, w, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack()
		defer a.leave()
		given := make(map[uint64]int64)
		a.onCredit = func(stream uint64, c packet.Credit) {
			if c.Class == packet.ClassRaw {
				given[stream] += int64(c.Amount)
			}
		}
		a.pongs = true // the server measures the round trip
		a.startReading()
		for i := range streams {
			a.mustSend(open(nil, number(i), nil), "a stream")
		}
		w, err := packet.ParseAccept(a.wait(packet.TypeAccept, streams, "the acceptance of all streams"))
		require.NoError(t, err)
		first := int64(w.Raw) // of the last stream, whose window is the smallest
		sent := make([]int64, streams)
		piece := make([]byte, 16<<10)
		for stuck := time.Now(); time.Since(stuck) < time.Second/2; {
			for i := range streams {
				a.mu.Lock()
				left := given[number(i)] + first - sent[i]
				a.mu.Unlock()
				if left > 0 {
					n := min(left, int64(len(piece)))
					a.mustSend(data(nil, 0, number(i), piece[:n]), "raw bytes with credit")
					sent[i] += n
					stuck = time.Now()
				}
			}
		}
		var held int64
		for i := range streams {
			held += sent[i]
		}
		t.Logf("%d bytes sent, at most %d of them unread", held, held-bytes)
		require.LessOrEqual(t, held-bytes, int64(streams*(limit+64<<10)), "unread bytes")
		s.wantService("during the attack")
		before.wantAtMost(t, heap, connGoroutines+4, "full windows that have grown")
	})
}
