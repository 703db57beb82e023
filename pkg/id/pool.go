package id

import (
	"container/heap"
	"sync"
)

// pool keeps track of the numbers from 1 on that are in use, and hands out the
// smallest that is not. Every operation takes O(log n) on average over any
// sequence of them, n being the numbers ever in use at a time. It is safe for
// concurrent use.
type pool struct {
	mu sync.Mutex

	// next is the lowest number never handed out by counting up. Numbers below
	// it that are not in use are in free; numbers from it on are not in use unless
	// reserved.
	next uint64

	// used holds the numbers in use, on either side of next.
	used map[uint64]struct{}

	// free is a min-heap of numbers below next. It may contain numbers that were
	// reserved since; get drops those.
	free minHeap

	// queued is the set of the numbers in free, which has each number once.
	queued map[uint64]struct{}
}

func newPool() *pool {
	p := &pool{}
	p.reset()
	return p
}

// get returns the smallest number that is not in use.
func (p *pool) get() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()

	for len(p.free) > 0 {
		id := heap.Pop(&p.free).(uint64)
		delete(p.queued, id)
		if _, inUse := p.used[id]; inUse {
			continue
		}
		p.used[id] = struct{}{}
		return id
	}
	for {
		id := p.next
		p.next++
		if _, inUse := p.used[id]; inUse {
			continue
		}
		p.used[id] = struct{}{}
		return id
	}
}

// reserve marks id as in use.
func (p *pool) reserve(id uint64) {
	if id == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used[id] = struct{}{}
}

// put releases id.
func (p *pool) put(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if _, inUse := p.used[id]; !inUse {
		return
	}
	delete(p.used, id)
	if id >= p.next {
		return
	}
	if _, standing := p.queued[id]; standing {
		return
	}
	p.queued[id] = struct{}{}
	heap.Push(&p.free, id)
}

// reset releases all numbers.
func (p *pool) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = 1
	p.used = make(map[uint64]struct{})
	p.free = nil
	p.queued = make(map[uint64]struct{})
}

// minHeap is a heap.Interface with the smallest number on top.
type minHeap []uint64

func (h minHeap) Len() int           { return len(h) }
func (h minHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h minHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

func (h *minHeap) Push(x any) { *h = append(*h, x.(uint64)) }

func (h *minHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
