package conn

import (
	"sync"

	"github.com/singchia/geminio/internal/chunk"
)

// MaxBatch is about how many bytes are written with one system call.
const MaxBatch = 256 << 10

const (
	maxPieces = 64      // pieces of a batch
	copyBelow = 2 << 10 // chunks that hold less are copied: a piece costs more
)

// BufferOwner lends memory to a batch.
type BufferOwner interface {
	// Written ends the loan: its bytes are written. It is not called when the
	// loan was reclaimed.
	Written()
}

// Batch is what one system call writes. The upper layer appends frames to Buf,
// adds whole chunks and, where the transport allows, borrowed memory, in the
// order in which they are to go.
type Batch struct {
	// Buf takes small frames and headers: append to it and assign the result.
	Buf []byte

	lend   bool           // the transport never blocks in the middle of a batch
	cut    int            // Buf[:cut] is in pieces already
	size   int            // bytes in pieces
	chunks []*chunk.Chunk // to be freed afterwards
	flat   []byte         // keeps Buf's memory for the next batch
	after  func()         // to be called when the batch is filled

	mu     sync.Mutex // guards what follows; held while the batch is filled, and during each system call
	pieces [][]byte
	first  int // pieces[:first] are written
	loans  []loan
	sys    sysBatch
}

type loan struct {
	piece int
	from  BufferOwner
}

var batches = sync.Pool{New: func() any { return &Batch{flat: make([]byte, 0, 2<<10)} }}

func newBatch(lend bool) *Batch {
	b := batches.Get().(*Batch)
	b.lend, b.Buf = lend, b.flat
	return b
}

// free gives everything back, also of a batch that was not written.
func (b *Batch) free() {
	for i, c := range b.chunks {
		c.Free()
		b.chunks[i] = nil
	}
	if cap(b.Buf) <= 2*MaxBatch {
		b.flat = b.Buf[:0]
	}
	b.Buf, b.cut, b.size, b.chunks = nil, 0, 0, b.chunks[:0]
	b.mu.Lock() // a late Reclaim may still look
	clear(b.pieces)
	clear(b.loans)
	b.pieces, b.first, b.loans = b.pieces[:0], 0, b.loans[:0]
	b.sys.reset()
	b.mu.Unlock()
	batches.Put(b)
}

// Size returns how many bytes b holds.
func (b *Batch) Size() int { return b.size + len(b.Buf) - b.cut }

// Room returns how many bytes should still be added, 0 if none.
func (b *Batch) Room() int {
	if len(b.pieces) >= maxPieces-2 {
		return 0
	}
	return max(MaxBatch-b.Size(), 0)
}

// AddChunk adds the bytes of c, which now belongs to the batch.
func (b *Batch) AddChunk(c *chunk.Chunk) {
	if !b.lend || c.Len() < copyBelow {
		b.Buf = append(b.Buf, c.Bytes()...)
		c.Free()
		return
	}
	b.add(c.Bytes())
	b.chunks = append(b.chunks, c)
}

// Lend adds p. It reports whether p is on loan until from.Written is called or
// Reclaim has returned; if not, p was copied.
func (b *Batch) Lend(p []byte, from BufferOwner) bool {
	if !b.lend {
		b.Buf = append(b.Buf, p...)
		return false
	}
	b.add(p)
	b.loans = append(b.loans, loan{len(b.pieces) - 1, from})
	return true
}

func (b *Batch) add(p []byte) {
	b.seal()
	b.pieces = append(b.pieces, p)
	b.size += len(p)
}

// After has f called when the batch is filled, without its lock. Fill calls it once at most.
func (b *Batch) After(f func()) { b.after = f }

// seal makes a piece of what Buf has gained.
func (b *Batch) seal() {
	if p := b.Buf[b.cut:len(b.Buf):len(b.Buf)]; len(p) > 0 {
		b.pieces = append(b.pieces, p)
		b.size += len(p)
		b.cut = len(b.Buf)
	}
}

// advance takes n written bytes off; b.mu is held. It reports whether these were
// all.
func (b *Batch) advance(n int) bool {
	for b.first < len(b.pieces) && n >= len(b.pieces[b.first]) {
		n -= len(b.pieces[b.first])
		b.first++
	}
	if n > 0 {
		b.pieces[b.first] = b.pieces[b.first][n:]
	}
	return b.first == len(b.pieces)
}

// reclaim replaces what from has lent by copies.
func (b *Batch) reclaim(from BufferOwner) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.loans[:0]
	for _, l := range b.loans {
		if l.from != from {
			kept = append(kept, l)
			continue
		}
		n++
		if l.piece >= b.first {
			b.pieces[l.piece] = append([]byte(nil), b.pieces[l.piece]...)
		}
	}
	b.loans = kept
	return n
}

// returned ends all loans.
func (b *Batch) endLoans() {
	b.mu.Lock()
	loans := b.loans
	b.loans = nil
	b.mu.Unlock()
	for _, l := range loans {
		l.from.Written()
	}
}
