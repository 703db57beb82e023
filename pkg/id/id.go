package id

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// IDFactory gives out numbers. Implementations must be safe for concurrent use.
type IDFactory interface {
	// ReserveID marks a number as in use, so that GetID does not give it out.
	ReserveID(id uint64)
	// GetID gives out a number other than 0.
	GetID() uint64
	// GetIDByMeta gives out a number for what meta describes, or refuses to.
	GetIDByMeta(meta []byte) (uint64, error)
	// DelID releases a number that is no longer in use.
	DelID(id uint64)
	// Close ends the use of the factory. GetID is not called afterwards.
	Close()
}

// Mode is how an IDCounter counts.
type Mode string

const (
	// Even counts in steps of two over even numbers, from the Unix time in seconds
	// shifted left by 32 bits plus a random start. The numbers of a side that
	// counts Even and of a side that counts Odd never collide.
	Even Mode = "even"
	// Odd counts as Even does, over odd numbers.
	Odd Mode = "odd"
	// Unique gives the smallest number from 1 on that is not in use. DelID makes
	// a number available again.
	Unique Mode = "unique"
	// Inc counts as Even does, in steps of one.
	Inc Mode = "inc"
)

// DefaultIncIDCounter is a process-wide counter of mode Inc.
var DefaultIncIDCounter = NewIDCounter(Inc)

var _ IDFactory = (*IDCounter)(nil)

// IDCounter is the library's IDFactory. Use NewIDCounter to make one; the zero
// value counts 1, 2, 3. All methods may be called concurrently.
type IDCounter struct {
	// Read-only after creation.
	mode Mode
	step uint64

	// last is the number given out last; unused in mode Unique.
	last atomic.Uint64

	// pool holds the numbers of mode Unique; nil in the others.
	pool *pool
}

// NewIDCounter makes a counter of the given mode. A mode that is none of the
// four counts as Inc.
func NewIDCounter(mode Mode) *IDCounter {
	counter := &IDCounter{mode: mode, step: 1}
	if mode == Unique {
		counter.pool = newPool()
		return counter
	}

	// The random start leaves the upper half of the low 32 bits free, so that
	// counters made in the same second differ and the high 32 bits stay the
	// second of creation for the first two thousand million numbers. After
	// that the count carries into them rather than start over.
	start := uint64(time.Now().Unix())<<32 + uint64(rand.Uint32()>>1)
	switch mode {
	case Even:
		counter.step = 2
		start &^= 1
	case Odd:
		counter.step = 2
		start |= 1
	}
	counter.last.Store(start)
	return counter
}

// ReserveID marks a number as in use in mode Unique. It does nothing for a
// number that is in use already, for 0, and in the other modes, which never
// look at numbers that others chose.
func (counter *IDCounter) ReserveID(id uint64) {
	if counter.pool != nil {
		counter.pool.reserve(id)
	}
}

// GetID gives out a number, never 0. In mode Unique it is the smallest in no
// use; in the other modes the same number is never given out twice.
func (counter *IDCounter) GetID() uint64 {
	if counter.pool != nil {
		return counter.pool.get()
	}
	for {
		if id := counter.last.Add(max(counter.step, 1)); id != 0 {
			return id
		}
	}
}

// GetIDByMeta gives out a number as GetID does. The meta is not looked at and
// the error is always nil; it is there for other implementations of IDFactory.
func (counter *IDCounter) GetIDByMeta(meta []byte) (uint64, error) {
	return counter.GetID(), nil
}

// DelID releases a number in mode Unique, so that GetID may return it again. It does
// nothing for a number that is not in use, and in the other modes.
func (counter *IDCounter) DelID(id uint64) {
	if counter.pool != nil {
		counter.pool.put(id)
	}
}

// Close releases all numbers in mode Unique. It does nothing in the other modes.
func (counter *IDCounter) Close() {
	if counter.pool != nil {
		counter.pool.reset()
	}
}
