package list

// List is a list of values, as small as a pointer. The zero value is empty. It is not safe for
// concurrent use.
type List[T any] struct {
	first *Link[T]
}

// Link is a field of a value that can be in a list. A value has one Link for each list that
// it can be in at the same time.
type Link[T any] struct {
	prev  *Link[T] // of the first link: the last one
	next  *Link[T] // of the last link: nil
	in    *List[T] // the list that has the link; nil: none
	value *T       // the value that has the link; nil if in is
}

// First returns the first value, or nil if there is none.
func (l *List[T]) First() *T { return l.first.get() }

// Empty reports whether there are no values.
func (l *List[T]) Empty() bool { return l.first == nil }

// Len counts the values.
func (l *List[T]) Len() (n int) {
	for k := l.first; k != nil; k = k.next {
		n++
	}
	return n
}

// Add adds v, whose link is k, at the end. It panics if k is in a list already.
func (l *List[T]) Add(k *Link[T], v *T) {
	if k.in != nil {
		panic("BUG: a link is in two lists")
	}
	*k = Link[T]{prev: k, in: l, value: v}
	if l.first == nil {
		l.first = k
		return
	}
	k.prev = l.first.prev
	k.prev.next = k
	l.first.prev = k
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
	if k.next == nil {
		l.first.prev = k.prev
	} else {
		k.next.prev = k.prev
	}
	if l.first == k {
		l.first = k.next
	} else {
		k.prev.next = k.next
	}
	*k = Link[T]{}
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
