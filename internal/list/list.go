package list

// List is a list of values. The zero value is empty. It is not safe for concurrent use.
type List[T any] struct {
	first, last *Link[T]
	n           int
}

// Link is a field of a value that can be in a list. A value has one Link for each list that
// it can be in at the same time.
type Link[T any] struct {
	prev, next *Link[T]
	in         *List[T] // the list that has the link; nil: none
	value      *T       // the value that has the link; nil if in is
}

// First returns the first value, or nil if there is none.
func (l *List[T]) First() *T { return l.first.get() }

// Len returns the number of values.
func (l *List[T]) Len() int { return l.n }

// Add adds v, whose link is k, at the end. It panics if k is in a list already.
func (l *List[T]) Add(k *Link[T], v *T) {
	if k.in != nil {
		panic("BUG: a link is in two lists")
	}
	*k = Link[T]{prev: l.last, in: l, value: v}
	if l.last == nil {
		l.first = k
	} else {
		l.last.next = k
	}
	l.last = k
	l.n++
}

// Remove removes the value whose link is k. It does nothing if k is in no list, and
// panics if k is in another one.
func (l *List[T]) Remove(k *Link[T]) {
	switch k.in {
	case nil:
		return
	case l:
	default:
		panic("BUG: a link is in another list")
	}
	if k.prev == nil {
		l.first = k.next
	} else {
		k.prev.next = k.next
	}
	if k.next == nil {
		l.last = k.prev
	} else {
		k.next.prev = k.prev
	}
	*k = Link[T]{}
	l.n--
}

// Remove removes the value whose link is k from the list that it is in, if any.
func (k *Link[T]) Remove() {
	if k.in != nil {
		k.in.Remove(k)
	}
}

// Next returns the value behind the value whose link is k, or nil if there is none.
func (k *Link[T]) Next() *T { return k.next.get() }

// Listed reports whether k is in a list.
func (k *Link[T]) Listed() bool { return k.in != nil }

// get returns the value that has k, or nil if k is nil.
func (k *Link[T]) get() *T {
	if k == nil {
		return nil
	}
	return k.value
}
