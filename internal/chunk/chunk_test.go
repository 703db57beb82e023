package chunk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGet(t *testing.T) {
	for _, c := range []struct{ ask, got int }{
		{0, 512}, {1, 512}, {512, 512},
		{513, 4 << 10}, {4 << 10, 4 << 10},
		{4<<10 + 1, 16 << 10}, {16 << 10, 16 << 10},
		{16<<10 + 1, MaxSize}, {MaxSize, MaxSize}, {MaxSize + 1, MaxSize}, {1 << 30, MaxSize},
	} {
		for range 3 { // new ones, and ones that were used
			chunk := Get(c.ask)
			require.Len(t, chunk.Space(), c.got, "Get(%d)", c.ask)
			require.Empty(t, chunk.Bytes())
			chunk.Wrote(c.got)
			chunk.Took(c.got / 2)
			chunk.Free()
		}
	}
}

func TestChunk(t *testing.T) {
	c := Get(1)
	defer c.Free()
	c.Wrote(copy(c.Space(), "abcdefgh"))
	assert.Equal(t, 8, c.Len())
	assert.Equal(t, "abcdefgh", string(c.Bytes()))
	assert.Len(t, c.Space(), 504)
	c.Took(3)
	assert.Equal(t, "defgh", string(c.Bytes()))
	assert.Len(t, c.Space(), 504)
	c.Compact()
	assert.Equal(t, "defgh", string(c.Bytes()))
	assert.Equal(t, 5, c.Len())
	assert.Len(t, c.Space(), 507)
	c.Took(5)
	c.Compact()
	assert.Zero(t, c.Len())
	assert.Len(t, c.Space(), 512)
}

// capacity returns how much memory q holds.
func capacity(q *Queue) (total int) {
	for c := q.head; c != nil; c = c.next {
		total += len(c.buf)
	}
	return total
}

// contents returns the bytes in q without taking them.
func contents(q *Queue) (all []byte) {
	for c := q.head; c != nil; c = c.next {
		all = append(all, c.Bytes()...)
	}
	return all
}

// TestQueueEmpty checks that nothing is kept for an empty queue, however it was
// emptied.
func TestQueueEmpty(t *testing.T) {
	for name, empty := range map[string]func(*Queue){
		"not filled": func(q *Queue) { *q = Queue{} },
		"taken": func(q *Queue) {
			for c := q.Head(); c != nil; c = q.Head() {
				q.Took(c.Len())
			}
		},
		"popped": func(q *Queue) {
			for c := q.Pop(); c != nil; c = q.Pop() {
				c.Free()
			}
		},
		"cleared":   (*Queue).Clear,
		"forgotten": (*Queue).Forget,
	} {
		t.Run(name, func(t *testing.T) {
			var q Queue
			q.Append(make([]byte, 100_000))
			require.Equal(t, 100_000, q.Len())
			empty(&q)
			require.Zero(t, q.Len())
			require.Nil(t, q.Head())
			require.Nil(t, q.Pop())
			require.Zero(t, capacity(&q))
			q.Append([]byte("again"))
			require.Equal(t, "again", string(q.Head().Bytes()))
		})
	}
}

func TestTail(t *testing.T) {
	var q Queue
	defer q.Clear()
	c := q.Tail(100)
	assert.Same(t, c, q.Tail(512), "there is room in the last one")
	assert.Nil(t, q.Head(), "no bytes yet")
	q.Wrote(copy(c.Space(), make([]byte, 500)))
	assert.Same(t, c, q.Tail(12))
	assert.NotSame(t, c, q.Tail(13))
	assert.Same(t, c, q.Head())
}

// TestHeadSkips checks that Head passes over a chunk that was emptied while it
// was on loan, and the others in front of which it stands.
func TestHeadSkips(t *testing.T) {
	var q Queue
	defer q.Clear()
	q.Append(make([]byte, 500))
	q.Lend(12)
	q.Took(500)
	require.Zero(t, q.Len())
	require.Nil(t, q.Head())
	require.Equal(t, 512, capacity(&q), "the loan keeps the chunk")
	q.Wrote(0)
	require.Nil(t, q.Head())

	require.Len(t, q.Lend(1000), 12, "what is left behind the 500")
	q.Wrote(12)
	q.Took(12)
	q.Lend(1000)
	q.Wrote(copy(q.tail.Space(), "next"))
	require.Equal(t, "next", string(q.Head().Bytes()))
	require.Equal(t, 4<<10, capacity(&q), "the empty one is gone")
}

// TestLoan checks that a loan outlives what happens to the queue meanwhile.
func TestLoan(t *testing.T) {
	for _, c := range []struct {
		name      string
		meanwhile func(*Queue)
		want      string
	}{
		{"nothing", func(*Queue) {}, "before, lent"},
		{"some taken", func(q *Queue) { q.Took(2) }, "fore, lent"},
		{"all taken", func(q *Queue) { q.Took(6) }, ", lent"},
		{"forgotten", (*Queue).Forget, ", lent"},
		{"taken and forgotten", func(q *Queue) { q.Took(6); q.Forget() }, ", lent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var q Queue
			defer q.Clear()
			q.Append([]byte("before"))
			space := q.Lend(6)
			require.GreaterOrEqual(t, len(space), 6)
			c.meanwhile(&q)
			n := copy(space, ", lent")
			q.Wrote(n)
			require.Equal(t, len(c.want), q.Len())
			require.Equal(t, c.want, string(q.Head().Bytes()))
			q.Took(q.Len())
			require.Zero(t, capacity(&q), "capacity after the end of the loan")
		})
	}
}

// TestForget checks that Forget does not return chunks to the pools, because a goroutine may
// still read them.
func TestForget(t *testing.T) {
	for i := range 100 {
		var q, other Queue
		q.Append(bytes.Repeat([]byte("r"), 1000))
		reading := q.Head().Bytes()
		lent := i%2 == 0
		var writing []byte
		if lent {
			writing = q.Lend(4000) // in a second chunk
		}
		q.Forget()
		require.Zero(t, q.Len())
		require.Nil(t, q.Head())

		other.Append(make([]byte, 1000)) // would get the chunk if it were in the pool
		require.Equal(t, bytes.Repeat([]byte("r"), 1000), reading)
		if lent {
			q.Wrote(copy(writing, "w"))
			require.Equal(t, "w", string(q.Head().Bytes()))
		}
		other.Clear()
	}
}

// TestConcurrentLoan reads bytes in one goroutine while another one writes behind them. The race
// detector reports if they overlap. The lock is held only while the counts change.
func TestConcurrentLoan(t *testing.T) {
	const total = 1 << 20
	var mu sync.Mutex
	var q Queue
	var wg sync.WaitGroup
	wg.Go(func() {
		for sent := 0; sent < total; {
			mu.Lock()
			space := q.Lend(1)
			mu.Unlock()
			n := min(len(space), 700, total-sent)
			for i := range n {
				space[i] = byte((sent + i) % 251)
			}
			mu.Lock()
			q.Wrote(n)
			mu.Unlock()
			sent += n
		}
	})
	for got := 0; got < total; {
		mu.Lock()
		var p []byte
		if c := q.Head(); c != nil {
			p = c.Bytes()
		}
		mu.Unlock()
		for i, b := range p {
			if b != byte((got+i)%251) {
				t.Fatalf("byte %d is %d", got+i, b)
			}
		}
		if len(p) > 0 {
			mu.Lock()
			q.Took(len(p))
			mu.Unlock()
		}
		got += len(p)
	}
	wg.Wait()
	require.Zero(t, q.Len())
}

// TestOverhead checks the memory of a queue that Append fills. While the queue only grows, it is
// at most five times the bytes and 2 KiB. Afterwards it is at most the bytes and two chunks.
func TestOverhead(t *testing.T) {
	grow := func(name string, next func() int) {
		t.Run(name, func(t *testing.T) {
			var q Queue
			defer q.Clear()
			for q.Len() < 150_000 {
				q.Append(make([]byte, next()))
				require.LessOrEqual(t, capacity(&q), 5*q.Len()+2048, "%d bytes", q.Len())
			}
			for c := q.Head(); c != nil; c = q.Head() {
				q.Took(min(c.Len(), 1+next()))
				require.LessOrEqual(t, capacity(&q), q.Len()+2*MaxSize, "%d bytes", q.Len())
			}
			require.Zero(t, capacity(&q))
		})
	}
	for _, n := range []int{1, 100, 511, 513, 4096, 4097, 65537, 100_000} {
		grow(strconv.Itoa(n), func() int { return n })
	}
	r := rand.New(rand.NewPCG(1, 2))
	grow("any", func() int { return 1 + r.IntN(1<<r.IntN(17)) })
}

// queueTest is a queue and a slice with the same bytes.
type queueTest struct {
	q    Queue
	want []byte
	lent []byte // the space of a loan, nil if there is none
	r    *rand.Rand
	last byte
	err  error // the first difference
}

// size returns a random number of bytes with a uniform logarithm.
func (q *queueTest) size() int { return q.r.IntN(1 << q.r.IntN(18)) }

// bytes returns n bytes that differ from the previous ones.
func (q *queueTest) bytes(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		q.last += 41
		p[i] = q.last
	}
	return p
}

// step does something and says what.
func (q *queueTest) step() string {
	op := q.r.IntN(8)
	switch {
	case op == 0 && q.lent == nil:
		p := q.bytes(q.size())
		q.q.Append(p)
		q.want = append(q.want, p...)
		return fmt.Sprintf("append %d", len(p))
	case op == 1 && q.lent == nil:
		n := 1 + min(q.size(), MaxSize-1)
		room := 0
		if q.q.tail != nil {
			room = len(q.q.tail.Space())
		}
		q.lent = q.q.Lend(n)
		if room > 0 && len(q.lent) != room || room == 0 && len(q.lent) < n {
			q.err = fmt.Errorf("a loan of %d bytes, want %d of the last chunk or %d of a new one", len(q.lent), room, n)
		}
		return fmt.Sprintf("lend %d", n)
	case op <= 2 && q.lent != nil:
		p := q.bytes(min(q.size(), len(q.lent)))
		copy(q.lent, p)
		q.q.Wrote(len(p))
		q.lent = nil
		q.want = append(q.want, p...)
		return fmt.Sprintf("wrote %d", len(p))
	case op == 3 && q.lent == nil && q.q.Head() != nil:
		c := q.q.Pop()
		p := c.Bytes()
		if !bytes.HasPrefix(q.want, p) {
			q.err = fmt.Errorf("wrong bytes popped, %d of them", len(p))
		}
		q.want = q.want[min(len(p), len(q.want)):]
		c.Free()
		return fmt.Sprintf("pop %d", len(p))
	case op == 4 && q.r.IntN(20) == 0:
		q.q.Forget()
		q.want = nil
		return "forget"
	case op == 5 && q.lent == nil && q.r.IntN(20) == 0:
		q.q.Clear()
		q.want = nil
		return "clear"
	default:
		c := q.q.Head()
		if c == nil {
			return "head: nil"
		}
		n := min(c.Len(), 1+q.size())
		if q.r.IntN(2) == 0 {
			n = c.Len()
		}
		q.q.Took(n)
		q.want = q.want[n:]
		return fmt.Sprintf("took %d", n)
	}
}

// check compares the two.
func (q *queueTest) check() error {
	head := q.q.Head()
	switch {
	case q.err != nil:
		return q.err
	case q.q.Len() != len(q.want):
		return fmt.Errorf("length %d, want %d", q.q.Len(), len(q.want))
	case head == nil != (len(q.want) == 0):
		return fmt.Errorf("head %v with %d bytes", head, len(q.want))
	case head != nil && head.Len() == 0:
		return fmt.Errorf("an empty head with %d bytes", len(q.want))
	case !bytes.Equal(contents(&q.q), q.want):
		return fmt.Errorf("wrong bytes, %d of them", len(q.want))
	}
	return nil
}

// TestQueue runs random programs. CHUNK_SEED runs the one that failed.
func TestQueue(t *testing.T) {
	if s := os.Getenv("CHUNK_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		runQueue(t, seed)
		return
	}
	for range 50 {
		runQueue(t, rand.Uint64())
	}
}

func runQueue(t *testing.T, seed uint64) {
	q := &queueTest{r: rand.New(rand.NewPCG(seed, 0))}
	var program []string
	for range 400 {
		program = append(program, q.step())
		if err := q.check(); err != nil {
			t.Fatalf("%v\nafter %q\nrun again with CHUNK_SEED=%d", err, program, seed)
		}
	}
}

func TestChunksTakesNothingOut(t *testing.T) {
	var q Queue
	for range q.Chunks() {
		t.Error("an empty queue has no chunks")
	}
	want := bytes.Repeat([]byte("0123456789"), 20_000)
	q.Append(want)
	for range 2 {
		var got []byte
		for c := range q.Chunks() {
			got = append(got, c.Bytes()...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes, not %d, or others", len(got), len(want))
		}
	}
	for range q.Chunks() {
		break
	}
	q.Clear()
}
