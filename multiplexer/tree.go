package multiplexer

import "math/rand/v2"

// tree is a set of streams that wait for credit of one kind, in the order in which they
// are to be served. It is a treap: a search tree by place.before, and a heap by random
// ranks, which keep it balanced. Adding, removing and finding take logarithmic time.
// Mux.mu guards it.
type tree struct {
	root   *node
	visits uint64 // places that were looked at, ever; for tests
}

// place is a stream's place in a tree, and a field of the value in it.
type node struct {
	// The order: by key, then by since.
	key    uint64
	ticket uint64

	// What the stream needs to be found by first.
	need uint64

	queue       *waitQueue
	left, right *node
	rank        uint64
	minNeed     uint64 // the smallest need in this subtree
	inTree      bool
}

func (p *node) before(o *node) bool {
	return p.key < o.key || p.key == o.key && p.ticket < o.ticket
}

// update computes what p knows about its subtree.
func (p *node) update() {
	p.minNeed = p.need
	for _, child := range []*node{p.left, p.right} {
		if child != nil {
			p.minNeed = min(p.minNeed, child.minNeed)
		}
	}
}

// add adds p, which is in no tree.
func (t *tree) add(p *node) {
	p.rank, p.left, p.right, p.inTree = rand.Uint64(), nil, nil, true
	p.update()
	at := &t.root
	path := make([]*node, 0, 64)
	for *at != nil && (*at).rank >= p.rank {
		t.visits++
		path = append(path, *at)
		if p.before(*at) {
			at = &(*at).left
		} else {
			at = &(*at).right
		}
	}
	p.left, p.right = t.split(*at, p)
	p.update()
	*at = p
	refresh(path)
}

// remove removes p. It does nothing if p is in no tree.
func (t *tree) remove(p *node) {
	if !p.inTree {
		return
	}
	at := &t.root
	path := make([]*node, 0, 64)
	for *at != p {
		t.visits++
		path = append(path, *at)
		if p.before(*at) {
			at = &(*at).left
		} else {
			at = &(*at).right
		}
	}
	*at = t.merge(p.left, p.right)
	refresh(path)
	p.left, p.right, p.inTree = nil, nil, false
}

// refresh updates a path down the tree, from its end.
func refresh(path []*node) {
	for i := len(path) - 1; i >= 0; i-- {
		path[i].update()
	}
}

// split parts a subtree into what is before p and what is not.
func (t *tree) split(sub, p *node) (before, behind *node) {
	if sub == nil {
		return nil, nil
	}
	t.visits++
	if sub.before(p) {
		sub.right, behind = t.split(sub.right, p)
		sub.update()
		return sub, behind
	}
	before, sub.left = t.split(sub.left, p)
	sub.update()
	return before, sub
}

// merge joins two subtrees, of which all of one is before all of the other.
func (t *tree) merge(before, behind *node) *node {
	if before == nil {
		return behind
	}
	if behind == nil {
		return before
	}
	t.visits++
	if before.rank > behind.rank {
		before.right = t.merge(before.right, behind)
		before.update()
		return before
	}
	behind.left = t.merge(before, behind.left)
	behind.update()
	return behind
}

// first returns the first place of those that need at most so much, or nil.
func (t *tree) firstWithin(most uint64) *node {
	p := t.root
	if p == nil || p.minNeed > most {
		return nil
	}
	for {
		t.visits++
		switch {
		case p.left != nil && p.left.minNeed <= most:
			p = p.left
		case p.need <= most:
			return p
		default:
			p = p.right
		}
	}
}
