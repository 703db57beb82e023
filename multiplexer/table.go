package multiplexer

// dialogueTable has dialogues by their ids. It has no map before the second dialogue: most
// connections have the default one only. The zero value is empty. Mux.mu guards it.
type dialogueTable struct {
	main   *Dialogue            // with DefaultID; nil if it is not in the table
	others map[uint64]*Dialogue // nil before the first
}

// get returns the dialogue with an id, or nil.
func (t *dialogueTable) get(id uint64) *Dialogue {
	if id == DefaultID {
		return t.main
	}
	return t.others[id]
}

// add adds d.
func (t *dialogueTable) add(d *Dialogue) {
	switch {
	case d.id == DefaultID:
		t.main = d
		return
	case t.others == nil:
		t.others = make(map[uint64]*Dialogue)
	}
	t.others[d.id] = d
}

// remove removes d.
func (t *dialogueTable) remove(d *Dialogue) {
	if d.id == DefaultID {
		t.main = nil
	} else {
		delete(t.others, d.id)
	}
}

// len returns the number of dialogues.
func (t *dialogueTable) len() int {
	if t.main != nil {
		return len(t.others) + 1
	}
	return len(t.others)
}

// all ranges over the dialogues, the default one first. The loop may remove dialogues.
func (t *dialogueTable) all(yield func(*Dialogue) bool) {
	if t.main != nil && !yield(t.main) {
		return
	}
	for _, d := range t.others {
		if !yield(d) {
			return
		}
	}
}
