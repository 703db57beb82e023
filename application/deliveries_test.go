package application

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/gauge"
)

// wire is one connection of a session, with the Ends of the publisher and of the receiver.
type wire struct {
	t        *testing.T
	pipe     net.Conn
	from, to *End
}

// newWire returns a connection of a session. The test closes it at its end.
func newWire(t *testing.T, d *Deliveries) *wire {
	t.Helper()
	near, far := net.Pipe()
	c, s := shake(t, near, far)
	from, err := New(context.Background(), c, endConfig())
	require.NoError(t, err)
	cfg := endConfig()
	cfg.Deliveries = d
	to, err := New(context.Background(), s, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		from.Close()
		to.Close()
	})
	return &wire{t, near, from, to}
}

// cut breaks the connection.
func (w *wire) cut() {
	w.pipe.Close()
	synctest.Wait()
}

// publish sends a message, and returns the channel of its outcome.
func (w *wire) publish(ctx context.Context, number uint64) <-chan error {
	w.t.Helper()
	outcome := make(chan error, 1)
	msg := w.from.NewMessage(fmt.Appendf(nil, "%d", number))
	require.NoError(w.t, w.from.startPublish(ctx, number|DeliveryBit, msg, 0, func(err error) { outcome <- err }))
	synctest.Wait()
	return outcome
}

// receive returns the next message, which has arrived already.
func (w *wire) receive(number uint64) geminio.Message {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	m, err := w.to.Receive(ctx)
	require.NoError(w.t, err, "message %d is not handed out", number)
	require.Equal(w.t, fmt.Sprint(number), string(m.Data()))
	return m
}

// empty requires that no message has arrived that Receive would return.
func (w *wire) empty() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	m, err := w.to.Receive(ctx)
	if err == nil {
		w.t.Fatalf("message %s is handed out again", m.Data())
	}
}

// unanswered requires that n messages have no answer.
func (w *wire) unanswered(n int) {
	w.t.Helper()
	synctest.Wait()
	require.EqualValues(w.t, n, w.to.unanswered.Load(), "messages without an answer")
}

// outcome requires that a publication has ended with an error of the given text, or with
// nil if the text is empty.
func outcome(t *testing.T, ch <-chan error, text string) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ch:
		if text == "" {
			require.NoError(t, err)
			return
		}
		require.EqualError(t, err, text)
	default:
		t.Fatal("the publication has no outcome")
	}
}

// pendingStill requires that a publication has not ended.
func pendingStill(t *testing.T, ch <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-ch:
		t.Fatalf("the publication has ended: %v", err)
	default:
	}
}

// answer calls Done of a message, or Error if there is a text.
func answer(t *testing.T, m geminio.Message, text string) {
	t.Helper()
	var err error
	if text != "" {
		err = errors.New(text)
	}
	require.NoError(t, m.Error(err))
}

// The copies of one message arrive at different moments.
func TestDeliveriesCopies(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name string
		do   func(t *testing.T, d *Deliveries, text string)
	}{
		{"before the hand-out", func(t *testing.T, d *Deliveries, text string) {
			one := newWire(t, d)
			one.publish(ctx, 1)
			one.cut()
			two := newWire(t, d)
			second := two.publish(ctx, 1)
			one.empty() // it comes again, in its order
			m := two.receive(1)
			pendingStill(t, second)
			answer(t, m, text)
			outcome(t, second, text)
			two.unanswered(0)
		}},
		{"before the hand-out, and received first", func(t *testing.T, d *Deliveries, text string) {
			one := newWire(t, d)
			one.publish(ctx, 1)
			one.cut()
			two := newWire(t, d)
			second := two.publish(ctx, 1)
			m := two.receive(1)
			one.empty()
			pendingStill(t, second)
			answer(t, m, text)
			outcome(t, second, text)
			one.unanswered(0)
			two.unanswered(0)
		}},
		{"before the answer", func(t *testing.T, d *Deliveries, text string) {
			one := newWire(t, d)
			one.publish(ctx, 1)
			m := one.receive(1)
			one.cut()
			two := newWire(t, d)
			second := two.publish(ctx, 1)
			two.empty()
			pendingStill(t, second)
			one.unanswered(0)
			two.unanswered(1)
			answer(t, m, text)
			outcome(t, second, text)
			two.unanswered(0)
			one.unanswered(0)
		}},
		{"before the answer, twice", func(t *testing.T, d *Deliveries, text string) {
			one := newWire(t, d)
			one.publish(ctx, 1)
			m := one.receive(1)
			one.cut()
			two := newWire(t, d)
			two.publish(ctx, 1)
			two.cut()
			three := newWire(t, d)
			third := three.publish(ctx, 1)
			answer(t, m, text)
			outcome(t, third, text)
			for _, w := range []*wire{one, two, three} {
				w.empty()
				w.unanswered(0)
			}
		}},
		{"after the answer", func(t *testing.T, d *Deliveries, text string) {
			one := newWire(t, d)
			first := one.publish(ctx, 1)
			answer(t, one.receive(1), text)
			outcome(t, first, text)
			one.cut()
			two := newWire(t, d)
			outcome(t, two.publish(ctx, 1), text)
			two.empty()
			two.unanswered(0)
		}},
		{"answered without a connection", func(t *testing.T, d *Deliveries, text string) {
			one := newWire(t, d)
			one.publish(ctx, 1)
			m := one.receive(1)
			one.cut()
			d.Detach()
			answer(t, m, text)
			assert.ErrorIs(t, m.Done(), geminio.ErrAnswered)
			two := newWire(t, d)
			outcome(t, two.publish(ctx, 1), text)
			two.empty()
		}},
		{"answered after a time without a connection", func(t *testing.T, d *Deliveries, text string) {
			one := newWire(t, d)
			one.publish(ctx, 1)
			m := one.receive(1)
			one.cut()
			d.Detach()
			require.Nil(t, d.all[1|DeliveryBit].carrier, "a connection that is kept")
			two := newWire(t, d)
			second := two.publish(ctx, 1)
			two.empty()
			answer(t, m, text)
			outcome(t, second, text)
			two.unanswered(0)
		}},
		{"of a number that was forgotten meanwhile", func(t *testing.T, d *Deliveries, text string) {
			one := newWire(t, d)
			one.publish(ctx, 1)
			m := one.receive(1)
			one.cut()
			two := newWire(t, d)
			second := two.publish(ctx, 1)
			two.empty()
			fill(d, 2, maxDeliveries)
			require.Nil(t, d.all[1|DeliveryBit])
			answer(t, m, text)
			outcome(t, second, text)
			one.unanswered(0)
			two.unanswered(0)
		}},
		{"on the same connection", func(t *testing.T, d *Deliveries, text string) {
			w := newWire(t, d)
			given, giveUp := context.WithCancel(ctx)
			first := w.publish(given, 1)
			m := w.receive(1)
			giveUp()
			outcome(t, first, context.Canceled.Error())
			again := w.publish(ctx, 1)
			w.empty()
			w.unanswered(1)
			answer(t, m, text)
			outcome(t, again, text)
			w.unanswered(0)
		}},
		{"on two connections in turn", func(t *testing.T, d *Deliveries, text string) {
			one := newWire(t, d)
			given, giveUp := context.WithCancel(ctx)
			one.publish(given, 1)
			m := one.receive(1)
			two := newWire(t, d)
			second := two.publish(ctx, 1)
			giveUp()
			synctest.Wait()
			one.publish(ctx, 1) // the newer one carries the answer
			one.empty()
			two.empty()
			answer(t, m, text)
			outcome(t, second, text)
			one.unanswered(0)
			two.unanswered(0)
		}},
	} {
		for _, text := range []string{"", "no room"} {
			t.Run(fmt.Sprintf("%s/%q", c.name, text), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { c.do(t, new(Deliveries), text) })
			})
		}
	}
}

// Without a session, or without the bit, every copy is a message of its own.
func TestDeliveriesAreOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, nil)
		for range 2 {
			published := w.publish(t.Context(), 1)
			answer(t, w.receive(1), "")
			outcome(t, published, "")
		}
		w.unanswered(0)
	})
}

// A peer sends the number of a delivery with a message that is delivered at most once.
func TestDeliveriesAtMostOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, new(Deliveries))
		w.publish(t.Context(), 1)
		w.receive(1).Done()
		w.unanswered(0)
		p := packet.Message{Cnss: uint8(options.CnssAtMostOnce)}
		for range 2 {
			require.NoError(t, w.from.d.Send(t.Context(), 0, packet.TypeMessage, 1|DeliveryBit, p.Append(nil), []byte("1"), multiplexer.AtOnce))
			w.receive(1).Done()
		}
		w.unanswered(0)
	})
}

// Deliveries remember only the part of a long text that is sent.
func TestDeliveriesLongTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(Deliveries)
		w := newWire(t, d)
		ctx := t.Context()
		long := strings.Repeat("x", 1<<20)
		first := w.publish(ctx, 1)
		answer(t, w.receive(1), long)
		err := <-first
		require.Error(t, err)
		synctest.Wait()
		w.cut()
		two := newWire(t, d)
		outcome(t, two.publish(ctx, 1), err.Error())
		assert.Less(t, d.Detach(), 2<<10, "bytes remembered")
		assert.Equal(t, len(d.all[1|DeliveryBit].text), d.texts)

		fill(d, 2, maxDeliveries)
		assert.Zero(t, d.texts, "bytes of texts, after the only one was forgotten")
	})
}

// fill hands out n messages with numbers from first on.
func fill(d *Deliveries, first, n uint64) {
	for number := range n {
		if !d.handOut(&message{seq: (first + number) | DeliveryBit}) {
			panic("it was handed out before")
		}
	}
}

// The last maxDeliveries deliveries are remembered, with any numbers.
func TestDeliveriesAreTheLastOnes(t *testing.T) {
	const most = maxDeliveries
	for _, c := range []struct {
		name    string
		numbers []uint64
		known   []uint64
		unknown []uint64
	}{
		{"none", nil, nil, []uint64{1, math.MaxInt64}},
		{"one", []uint64{1}, []uint64{1}, []uint64{2, 1 + most}},
		{"backwards", []uint64{65, 1}, []uint64{65, 1}, []uint64{2}},
		{"as many as are remembered", span(1, most), span(1, most), []uint64{most + 1}},
		{"one more", span(1, most+1), span(2, most), []uint64{1, most + 2}},
		{"twice as many", span(1, 2*most), span(most+1, most), []uint64{1, most, 2*most + 1}},
		{"far apart", []uint64{1, 1 + most, 1 + 2*most, 1 << 40, math.MaxInt64}, []uint64{1, 1 + most, 1 + 2*most, 1 << 40, math.MaxInt64}, nil},
		{"and back", []uint64{math.MaxInt64, 1}, []uint64{math.MaxInt64, 1}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := new(Deliveries)
			for _, n := range c.numbers {
				require.True(t, d.handOut(&message{seq: n | DeliveryBit}), "%d", n)
			}
			assert.Len(t, d.all, len(c.known))
			for _, n := range c.known {
				assert.NotNil(t, d.all[n|DeliveryBit], "%d is forgotten", n)
			}
			for _, n := range c.unknown {
				assert.Nil(t, d.all[n|DeliveryBit], "%d is known", n)
			}
		})
	}
}

// span returns n numbers from first on.
func span(first, n uint64) []uint64 {
	all := make([]uint64, n)
	for i := range all {
		all[i] = first + uint64(i)
	}
	return all
}

// The memory of deliveries depends on their count and not on the distance of their
// numbers, and Detach returns it.
func TestDeliveriesMemory(t *testing.T) {
	const sessions = 200
	for _, c := range []struct {
		name string
		step uint64
		n    int
	}{
		{"one", 1, 1},
		{"two, and far apart", 4096, 2},
		{"some", 1, 100},
		{"some, and far apart", 64, 100},
		{"many", 1, 1000},
		{"the last ones of very many", 1, 3 * maxDeliveries},
	} {
		t.Run(c.name, func(t *testing.T) {
			many := max(1, min(sessions, 20_000/c.n))
			all := make([]*Deliveries, many)
			rest := 0
			before := gauge.Take()
			for i := range all {
				d := new(Deliveries)
				for k := range c.n {
					m := &message{seq: (1 + uint64(k)*c.step) | DeliveryBit}
					d.handOut(m)
					d.answered(m, packet.Answer{Code: 1, Text: "no"})
				}
				all[i] = d
				rest += d.Detach()
			}
			held := min(c.n, maxDeliveries)
			require.LessOrEqual(t, rest, many*held*(deliveryBytes+2))
			var heap int64
			within := func(u gauge.Usage) bool {
				heap = u.Since(before).Heap
				return heap <= int64(rest)*5/4+int64(many)<<9
			}
			gauge.Settle(gauge.Patience, within)
			t.Logf("%d sessions with %d deliveries each: %d bytes, of which Detach tells %d", many, held, heap, rest)
			require.LessOrEqual(t, heap, int64(rest)*5/4+int64(many)<<9)
			runtime.KeepAlive(all)
		})
	}
}

// Remembering a delivery allocates at most the memory that it keeps, also late in a
// session.
func TestDeliveriesAllocations(t *testing.T) {
	d := new(Deliveries)
	fill(d, 1, 2*maxDeliveries)
	n := uint64(2*maxDeliveries + 1)
	m := new(message)
	allocs := testing.AllocsPerRun(4*maxDeliveries, func() {
		m.seq = n | DeliveryBit
		n++
		d.handOut(m)
		d.answered(m, packet.Answer{})
	})
	assert.LessOrEqual(t, allocs, 1.0)
}

// With random numbers, each of the last deliveries is handed out once and keeps its
// answer.
func TestDeliveriesModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	synctest.Test(t, func(t *testing.T) {
		d := new(Deliveries)
		w := newWire(t, nil)
		type entry struct {
			m        *message
			answered bool
			text     string
		}
		known := make(map[uint64]*entry) // handed out, and to be remembered
		var order []uint64               // of known, the oldest first
		last := uint64(0)                // the highest handed out
		var recent []*entry
		for step := range 200_000 {
			n := last + 1
			switch k := rnd.IntN(1000); {
			case k < 300 && last > 0:
				n = last - min(rnd.Uint64N(64), last-1)
			case k < 500 && last > 0:
				n = last - min(rnd.Uint64N(2*maxDeliveries), last-1)
			case k < 510:
				n = last + rnd.Uint64N(200) + 1
			case k == 510:
				n = last + rnd.Uint64N(3*maxDeliveries) + 1
			case k == 511 && step%7 == 0:
				n = last + rnd.Uint64N(1<<30) + 1
			}
			e := known[n]
			m := &message{seq: n | DeliveryBit, s: w.to.Stream}
			if rnd.IntN(2) == 0 {
				if seen := d.isCopy(m); seen != (e != nil) {
					t.Fatalf("step %d: of %d, after %d, seen is %v", step, n, last, seen)
				}
			}
			out := d.handOut(m)
			if out != (e == nil) {
				t.Fatalf("step %d: of %d, after %d, hand out is %v", step, n, last, out)
			}
			if out {
				e = &entry{m: m}
				known[n] = e
				recent = append(recent, e)
				last = max(last, n)
				if order = append(order, n); len(order) > maxDeliveries {
					delete(known, order[0])
					order = order[1:]
				}
			}
			if len(recent) > 0 && rnd.IntN(3) > 0 {
				i := rnd.IntN(len(recent))
				e := recent[i]
				recent[i] = recent[len(recent)-1]
				recent = recent[:len(recent)-1]
				e.answered, e.text = true, strings.Repeat("y", rnd.IntN(9))
				d.answered(e.m, packet.Answer{Code: 1, Text: e.text})
			}
			got := d.all[n|DeliveryBit]
			if got == nil || got.answered != e.answered || got.text != e.text || (got.carrier == nil) != e.answered {
				t.Fatalf("step %d: of %d, after %d, known is %+v, not %+v", step, n, last, got, e)
			}
		}
		texts, n := 0, 0
		for v := d.oldest; v != nil; v = v.next {
			require.Same(t, v, d.all[v.number])
			texts += len(v.text)
			n++
		}
		assert.Equal(t, texts, d.texts, "bytes of texts")
		assert.Equal(t, len(d.all), n)
		assert.LessOrEqual(t, n, maxDeliveries)
	})
}
