package application

// byNumber holds values by number. It has no map before it holds a second value: most Ends have one
// operation under way at a time. The zero value is empty. It is not safe for concurrent use.
type byNumber[V any] struct {
	number uint64        // the number of one
	one    *V            // one of the values; nil: none
	others map[uint64]*V // nil before the first
}

// get returns the value with a number, or nil.
func (t *byNumber[V]) get(number uint64) *V {
	if t.one != nil && t.number == number {
		return t.one
	}
	return t.others[number]
}

// add adds a value with a number that no other value has.
func (t *byNumber[V]) add(number uint64, v *V) {
	switch {
	case t.one == nil:
		t.number, t.one = number, v
		return
	case t.others == nil:
		t.others = make(map[uint64]*V)
	}
	t.others[number] = v
}

// remove removes the value with a number.
func (t *byNumber[V]) remove(number uint64) {
	if t.one != nil && t.number == number {
		t.one = nil
	} else {
		delete(t.others, number)
	}
}

// len returns the number of values.
func (t *byNumber[V]) len() int {
	if t.one != nil {
		return len(t.others) + 1
	}
	return len(t.others)
}

// all ranges over the values.
func (t *byNumber[V]) all(yield func(*V) bool) {
	if t.one != nil && !yield(t.one) {
		return
	}
	for _, v := range t.others {
		if !yield(v) {
			return
		}
	}
}
