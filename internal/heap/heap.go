package heap

// Element is an element of a Heap: a pointer to a struct that embeds a Place.
type Element[T any] interface {
	// Before reports whether the element comes before another one.
	Before(other T) bool

	place() *Place
}

// Place is the position of an element in its Heap. The zero Place is that of an element in no
// Heap.
type Place struct {
	rank int // the index in Heap.all plus 1; 0: in no Heap
}

func (p *Place) place() *Place { return p }

// Queued reports whether the element is in a Heap.
func (p *Place) Queued() bool { return p.rank > 0 }

// Heap is a queue that has the first of its elements, by their Before, at the front. An
// element is in one Heap at a time. The zero Heap is empty. Its methods, except Len and First,
// take a time that grows with the logarithm of Len. A Heap is not safe for concurrent use.
type Heap[T Element[T]] struct {
	all []T // no element comes before all[i/2-1/2], its parent
}

// Len returns the number of elements.
func (h *Heap[T]) Len() int { return len(h.all) }

// First returns the first element. The Heap must not be empty.
func (h *Heap[T]) First() T { return h.all[0] }

// Push adds an element.
func (h *Heap[T]) Push(x T) {
	h.all = append(h.all, x)
	h.up(len(h.all) - 1)
}

// Pop removes the first element and returns it. The Heap must not be empty.
func (h *Heap[T]) Pop() T {
	x := h.all[0]
	h.Remove(x)
	return x
}

// Remove removes an element, which must be in the Heap.
func (h *Heap[T]) Remove(x T) {
	i, last := x.place().rank-1, len(h.all)-1
	moved := h.all[last]
	var none T
	h.all[last] = none
	h.all = h.all[:last]
	x.place().rank = 0
	if i < last {
		h.set(i, moved)
		h.Fix(moved)
	}
}

// Fix moves an element to its position after its order has changed.
func (h *Heap[T]) Fix(x T) {
	h.up(x.place().rank - 1)
	h.down(x.place().rank - 1)
}

// set puts x at an index.
func (h *Heap[T]) set(i int, x T) {
	h.all[i] = x
	x.place().rank = i + 1
}

// up moves the element at i towards the front as far as it comes before its parents.
func (h *Heap[T]) up(i int) {
	x := h.all[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !x.Before(h.all[parent]) {
			break
		}
		h.set(i, h.all[parent])
		i = parent
	}
	h.set(i, x)
}

// down moves the element at i towards the back as far as its children come before it.
func (h *Heap[T]) down(i int) {
	x := h.all[i]
	for {
		child := 2*i + 1
		if child >= len(h.all) {
			break
		}
		if right := child + 1; right < len(h.all) && h.all[right].Before(h.all[child]) {
			child = right
		}
		if !h.all[child].Before(x) {
			break
		}
		h.set(i, h.all[child])
		i = child
	}
	h.set(i, x)
}
