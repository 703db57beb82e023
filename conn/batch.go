package conn

import (
	"sync"

	"github.com/singchia/geminio/internal/chunk"
	"github.com/singchia/geminio/packet"
)

// MaxBatch is the size above which a batch gets no further frames, in bytes, if the transport
// can lend.
const MaxBatch = 256 << 10

// copiedBatch is MaxBatch for a transport that cannot lend, which writes a batch to the end
// before urgent frames get their turn. It is a multiple of the largest TLS record.
const copiedBatch = 64 << 10

const (
	maxPieces = 64      // bounds the pieces of a batch
	copyBelow = 2 << 10 // chunks with fewer bytes are copied: that costs less than one more piece
	leastFit  = 1 << 10 // the smallest result of Fit, apart from its argument
)

// BufferOwner lends memory to a batch.
type BufferOwner interface {
	// Written reports that the borrowed bytes are written, which ends the loan. It
	// is not called after Reclaim has ended the loan.
	Written()
}

// Batch is a sequence of frames that is written at once, with one system call if the
// socket takes them all, or one Write of another transport. The layer above appends frames to Buf, adds chunks and lends
// memory, in the order of the wire.
type Batch struct {
	// Buf holds small frames and headers. The layer above appends to it and assigns
	// the result.
	Buf []byte

	lend   bool           // pieces may be borrowed: the transport need not block in a batch
	cut    int            // Buf[:cut] is in pieces
	size   int            // bytes in pieces
	limit  int            // the size above which the batch gets no further frames
	chunks []*chunk.Chunk // freed after the batch is written; nil: moved to a log
	flat   []byte         // memory for Buf of the next batch
	after  func()         // runs when the batch is filled
	ping   uint64         // the value of the Ping at the beginning
	pings  bool           // there is a Ping at the beginning

	mu     sync.Mutex // guards the fields below; held while the batch is filled, during each system call and while it goes to the log
	pieces [][]byte   // the bytes in order
	first  int        // pieces[:first] are written
	loans  []loan     // the borrowed pieces
	sys    sysBatch   // arguments of system calls

	// A session uses these fields.

	whole       [][]byte // the pieces as they were before they were written
	linkPiece   int      // index of the piece of link frames; -1: none
	logOnly     bool     // the batch goes to the log without being written
	chunkPieces []int    // for each of chunks, the index of its piece
}

// loan is a borrowed piece of a batch.
type loan struct {
	piece int         // index in Batch.pieces
	from  BufferOwner // owns the memory
}

var batches = sync.Pool{New: func() any { return &Batch{flat: make([]byte, 0, 2<<10)} }}

func newBatch(lend bool) *Batch {
	b := batches.Get().(*Batch)
	b.lend, b.Buf, b.limit, b.linkPiece, b.logOnly = lend, b.flat, MaxBatch, -1, false
	if !lend {
		b.limit = copiedBatch
	}
	return b
}

// free frees the chunks of b and returns b to the pool, whether it was written or not.
func (b *Batch) free() {
	for i, c := range b.chunks {
		if c != nil {
			c.Free()
		}
		b.chunks[i] = nil
	}
	if cap(b.Buf) <= 2*MaxBatch {
		b.flat = b.Buf[:0]
	}
	b.Buf, b.cut, b.size, b.chunks, b.pings = nil, 0, 0, b.chunks[:0], false
	b.mu.Lock() // Reclaim may have loaded b before it was written
	clear(b.pieces)
	clear(b.loans)
	clear(b.whole)
	b.whole, b.chunkPieces = b.whole[:0], b.chunkPieces[:0]
	b.pieces, b.first, b.loans = b.pieces[:0], 0, b.loans[:0]
	b.sys.reset()
	b.mu.Unlock()
	batches.Put(b)
}

// Size returns the number of bytes in b.
func (b *Batch) Size() int { return b.size + len(b.Buf) - b.cut }

// Room returns how many bytes should still be added; 0 if b is full.
func (b *Batch) Room() int {
	if len(b.pieces) >= maxPieces-2 {
		return 0
	}
	return max(b.limit-b.Size(), 0)
}

// Fit returns how many raw bytes the next frame should have at most, if the peer
// takes frames of up to frame bytes. On a transport that cannot lend, the frame ends with the
// batch: TLS would need one more record for the bytes beyond.
func (b *Batch) Fit(frame int) int {
	if b.lend {
		return frame
	}
	return min(frame, max(b.Room()-packet.HeaderLen, leastFit))
}

// AddChunk adds the bytes of c. The batch owns c from now on.
func (b *Batch) AddChunk(c *chunk.Chunk) {
	if !b.lend || c.Len() < copyBelow {
		b.Buf = append(b.Buf, c.Bytes()...)
		c.Free()
		return
	}
	b.add(c.Bytes())
	b.chunks = append(b.chunks, c)
	b.chunkPieces = append(b.chunkPieces, len(b.pieces)-1)
}

// Ping returns the value of the Ping that precedes all frames of the layer above in b. It
// returns false if there is none.
func (b *Batch) Ping() (value uint64, ok bool) { return b.ping, b.pings }

// Lend adds p. If it returns true, b borrows p until it calls from.Written or until
// Reclaim returns. If it returns false, p was copied.
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

// After registers f, which runs when the batch is filled, without the lock of b. AppendFrames
// calls After at most once.
func (b *Batch) After(f func()) { b.after = f }

// seal makes a piece of the bytes that were appended to Buf since the last piece.
func (b *Batch) seal() {
	if p := b.Buf[b.cut:len(b.Buf):len(b.Buf)]; len(p) > 0 {
		b.pieces = append(b.pieces, p)
		b.size += len(p)
		b.cut = len(b.Buf)
	}
}

// advance removes n written bytes. It reports whether everything is written. The caller
// holds b.mu.
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

// reclaim replaces the unwritten pieces that from has lent by copies. It returns how many
// loans it has ended.
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
		if len(b.whole) > 0 { // the log needs all bytes, also those that are written
			whole := append([]byte(nil), b.whole[l.piece]...)
			b.whole[l.piece] = whole
			b.pieces[l.piece] = whole[len(whole)-len(b.pieces[l.piece]):]
		} else if l.piece >= b.first {
			b.pieces[l.piece] = append([]byte(nil), b.pieces[l.piece]...)
		}
	}
	b.loans = kept
	return n
}

// endLoans ends all loans after b was written.
func (b *Batch) endLoans() {
	b.mu.Lock()
	loans := b.loans
	b.loans = nil
	b.mu.Unlock()
	for _, l := range loans {
		l.from.Written()
	}
}
