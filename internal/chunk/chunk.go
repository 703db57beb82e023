package chunk

import (
	"iter"
	"sync"
)

// MaxSize is the capacity of the largest chunk, in bytes.
const MaxSize = 64 << 10

// sizes are the capacities that are pooled.
var sizes = [...]int{512, 4 << 10, 16 << 10, MaxSize}

var pools [len(sizes)]sync.Pool

// Chunk is a buffer with bytes in its middle: those before were taken out, the
// space behind is free.
type Chunk struct {
	next  *Chunk
	buf   []byte
	r, w  int
	class int
}

// Get returns an empty chunk with room for n bytes, or for MaxSize if n is more.
func Get(n int) *Chunk {
	class := 0
	for class < len(sizes)-1 && sizes[class] < n {
		class++
	}
	if c, _ := pools[class].Get().(*Chunk); c != nil {
		return c
	}
	return &Chunk{buf: make([]byte, sizes[class]), class: class}
}

// Free gives c back. Nothing may use it, or what it returned, afterwards.
func (c *Chunk) Free() {
	c.next, c.r, c.w = nil, 0, 0
	pools[c.class].Put(c)
}

// Bytes returns the bytes in c.
func (c *Chunk) Bytes() []byte { return c.buf[c.r:c.w] }

// Len returns how many bytes are in c.
func (c *Chunk) Len() int { return c.w - c.r }

// Space returns the free space behind them.
func (c *Chunk) Space() []byte { return c.buf[c.w:] }

// Wrote says that the first n bytes of Space now belong to Bytes.
func (c *Chunk) Wrote(n int) { c.w += n }

// Took says that the first n of Bytes are no longer needed.
func (c *Chunk) Took(n int) { c.r += n }

// Compact moves the bytes to the beginning, so that all else is Space.
func (c *Chunk) Compact() {
	c.w = copy(c.buf, c.buf[c.r:c.w])
	c.r = 0
}

// Queue is a queue of chunks, for less than 4 GiB. The zero value is empty.
type Queue struct {
	head, tail *Chunk
	n          uint32 // bytes that were put in and not yet taken
	lent       bool   // somebody is writing into the space of the last chunk
}

// Len returns the number of bytes in q.
func (q *Queue) Len() int { return int(q.n) }

// Head returns the first chunk that has bytes, or nil.
func (q *Queue) Head() *Chunk {
	for q.head != nil && q.head.Len() == 0 && q.head != q.tail {
		q.unlink().Free()
	}
	if q.n == 0 {
		return nil
	}
	return q.head
}

// Chunks returns all chunks, which stay where they are.
func (q *Queue) Chunks() iter.Seq[*Chunk] {
	return func(yield func(*Chunk) bool) {
		for c := q.head; c != nil && yield(c); c = c.next {
		}
	}
}

// Tail returns the last chunk if it has room for n bytes, or else adds one that
// has. It is sized after what the queue holds already, so that short queues stay
// small and long ones have few chunks.
func (q *Queue) Tail(n int) *Chunk {
	if q.tail != nil && len(q.tail.Space()) >= n {
		return q.tail
	}
	c := Get(max(n, min(2*int(q.n), MaxSize)))
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
	return c
}

// Lend returns space behind the last byte: what the last chunk has left or, if
// that is nothing, a new one with room for n, or for as much as it can. The last
// chunk stays where it is until Wrote ends the loan, even if it is emptied.
func (q *Queue) Lend(n int) []byte {
	c := q.tail
	if c == nil || len(c.Space()) == 0 {
		c = q.Tail(min(n, MaxSize))
	}
	q.lent = true
	return c.Space()
}

// Wrote says that n bytes were written into the space of the last chunk, and
// ends its loan.
func (q *Queue) Wrote(n int) {
	q.lent = false
	q.tail.w += n
	q.n += uint32(n)
}

// Append copies p to the end.
func (q *Queue) Append(p []byte) {
	for len(p) > 0 {
		room := 1
		if q.tail == nil || len(q.tail.Space()) == 0 {
			room = min(len(p), MaxSize)
		}
		n := copy(q.Tail(room).Space(), p)
		q.Wrote(n)
		p = p[n:]
	}
}

// Took says that the first n bytes of the first chunk are no longer needed, and
// frees it if these were all.
func (q *Queue) Took(n int) {
	c := q.head
	c.r += n
	q.n -= uint32(n)
	if c.r == c.w && !(q.lent && c == q.tail) {
		q.unlink().Free()
	}
}

// Pop takes the first chunk out; it now belongs to the caller. It returns nil
// if there is none.
func (q *Queue) Pop() *Chunk {
	if q.head == nil {
		return nil
	}
	q.n -= uint32(q.head.Len())
	return q.unlink()
}

func (q *Queue) unlink() *Chunk {
	c := q.head
	q.head = c.next
	if q.head == nil {
		q.tail = nil
	}
	c.next = nil
	return c
}

// Forget empties the queue without freeing anything: others may still be reading
// what Head returned, or writing into what Lend did.
func (q *Queue) Forget() {
	if !q.lent {
		*q = Queue{}
		return
	}
	q.tail.r = q.tail.w
	q.head, q.n = q.tail, 0
}

// Clear frees everything. Where another goroutine may still hold what Lend or
// Head returned, forget the queue instead.
func (q *Queue) Clear() {
	for c := q.Pop(); c != nil; c = q.Pop() {
		c.Free()
	}
}
