package chunk

import (
	"iter"
	"sync"
)

// Chunk is a buffer with three consecutive parts: removed bytes, the bytes, and free space.
type Chunk struct {
	next  *Chunk // in a Queue
	buf   []byte
	r, w  int // the bytes are buf[r:w]
	class int // index in sizes and pools
}

// MaxSize is the capacity of the largest chunk, in bytes.
const MaxSize = 64 << 10

// sizes has the capacities of chunks, in bytes.
var sizes = [...]int{512, 4 << 10, 16 << 10, MaxSize}

// pools has a pool for each of sizes.
var pools [len(sizes)]sync.Pool

// Get returns an empty chunk with room for at least n bytes, or for MaxSize if n is larger.
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

// Free returns c to the pool. Neither c nor a slice of it may be used afterwards.
func (c *Chunk) Free() {
	c.next, c.r, c.w = nil, 0, 0
	pools[c.class].Put(c)
}

// Bytes returns the bytes in c.
func (c *Chunk) Bytes() []byte { return c.buf[c.r:c.w] }

// Len returns the number of bytes in c.
func (c *Chunk) Len() int { return c.w - c.r }

// Space returns the free space behind the bytes.
func (c *Chunk) Space() []byte { return c.buf[c.w:] }

// Wrote moves the first n bytes of Space to Bytes.
func (c *Chunk) Wrote(n int) { c.w += n }

// Took removes the first n bytes from Bytes.
func (c *Chunk) Took(n int) { c.r += n }

// Compact moves the bytes to the beginning of the buffer, so that the rest is Space.
func (c *Chunk) Compact() {
	c.w = copy(c.buf, c.buf[c.r:c.w])
	c.r = 0
}

// Queue is a queue of chunks with less than 4 GiB in sum. The zero value is empty.
type Queue struct {
	head, tail *Chunk
	n          uint32 // the number of bytes
	lent       bool   // Lend was called, and Wrote was not yet: another goroutine writes into the last chunk
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

// Chunks returns an iterator over the chunks. It does not change q.
func (q *Queue) Chunks() iter.Seq[*Chunk] {
	return func(yield func(*Chunk) bool) {
		for c := q.head; c != nil && yield(c); c = c.next {
		}
	}
}

// Tail returns the last chunk if it has room for n bytes, or adds one. The size of a new
// chunk grows with the length of the queue, so that short queues are small and long
// ones have few chunks.
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

// Lend returns space behind the last byte: the rest of the last chunk or, if that is
// full, a new chunk with room for n bytes or MaxSize. The last chunk stays in the queue
// until Wrote is called, even if it is emptied.
func (q *Queue) Lend(n int) []byte {
	c := q.tail
	if c == nil || len(c.Space()) == 0 {
		c = q.Tail(min(n, MaxSize))
	}
	q.lent = true
	return c.Space()
}

// Wrote appends the first n bytes of the space that Lend has returned.
func (q *Queue) Wrote(n int) {
	q.lent = false
	q.tail.w += n
	q.n += uint32(n)
}

// Append appends a copy of p.
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

// Push adds c, which has at least one byte, at the end. The queue owns it from now on.
func (q *Queue) Push(c *Chunk) {
	c.next = nil
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
	q.n += uint32(c.Len())
}

// Took removes the first n bytes of the first chunk, and frees the chunk if it is empty.
func (q *Queue) Took(n int) {
	c := q.head
	c.r += n
	q.n -= uint32(n)
	if c.r == c.w && !(q.lent && c == q.tail) {
		q.unlink().Free()
	}
}

// Pop removes the first chunk and returns it; the caller owns it. It returns nil if q is
// empty.
func (q *Queue) Pop() *Chunk {
	if q.head == nil {
		return nil
	}
	q.n -= uint32(q.head.Len())
	return q.unlink()
}

// unlink removes the first chunk and returns it. The caller adjusts q.n.
func (q *Queue) unlink() *Chunk {
	c := q.head
	q.head = c.next
	if q.head == nil {
		q.tail = nil
	}
	c.next = nil
	return c
}

// Forget empties q without returning its chunks to the pools. It is for queues whose bytes or
// space another goroutine may still use, because Head or Lend has returned a slice of it.
func (q *Queue) Forget() {
	if !q.lent {
		*q = Queue{}
		return
	}
	q.tail.r = q.tail.w
	q.head, q.n = q.tail, 0
}

// Clear empties q and frees its chunks. If another goroutine may still use a slice that
// Head or Lend has returned, call Forget instead.
func (q *Queue) Clear() {
	for c := q.Pop(); c != nil; c = q.Pop() {
		c.Free()
	}
}
