package application

import "slices"

// fewNames is the number of names up to which byName has no map. A map of one name takes 250 bytes
// or more, and is not faster.
const fewNames = 8

// byName holds values by the names of methods, in the order in which they were added. The zero
// value is empty. It is not safe for concurrent use.
type byName[V any] struct {
	entries []nameEntry[V]
	index   map[string]int // the positions in entries; nil up to fewNames
}

type nameEntry[V any] struct {
	value V
	name  string
}

// find returns the entry of a name, or nil. It is valid until the next change.
func (t *byName[V]) find(name []byte) *nameEntry[V] {
	if t.index != nil {
		if i, ok := t.index[string(name)]; ok {
			return &t.entries[i]
		}
		return nil
	}
	for i := range t.entries {
		if t.entries[i].name == string(name) {
			return &t.entries[i]
		}
	}
	return nil
}

// has tells whether there is a value for a name.
func (t *byName[V]) has(name string) bool { return t.find(stringBytes(name)) != nil }

// set sets the value of a name, and reports whether the name is new.
func (t *byName[V]) set(name string, value V) (added bool) {
	if e := t.find(stringBytes(name)); e != nil {
		e.value = value
		return false
	}
	t.entries = append(t.entries, nameEntry[V]{value, name})
	switch n := len(t.entries); {
	case t.index != nil:
		t.index[name] = n - 1
	case n > fewNames:
		t.makeIndex()
	}
	return true
}

// remove removes a name.
func (t *byName[V]) remove(name string) {
	t.entries = slices.DeleteFunc(t.entries, func(e nameEntry[V]) bool { return e.name == name })
	if t.index != nil {
		t.makeIndex()
	}
}

func (t *byName[V]) makeIndex() {
	t.index = make(map[string]int, len(t.entries))
	for i, e := range t.entries {
		t.index[e.name] = i
	}
}

// names returns all names.
func (t *byName[V]) names() []string {
	all := make([]string, len(t.entries))
	for i, e := range t.entries {
		all[i] = e.name
	}
	return all
}
