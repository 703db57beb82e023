package multiplexer

import "math/rand/v2"

// tree is an ordered set of the streams that wait for credit of one kind. It is a treap: a
// search tree by node.before, and a heap by the random node.rank, which keeps it balanced.
// Adding, removing and finding take logarithmic time. Mux.mu guards it.
type tree struct {
	root   *node
	visits uint64 // the number of nodes that all operations have looked at; for tests
}

// node is the node of one stream in a tree. It is embedded in the waitQueue of the stream.
type node struct {
	key    uint64 // the first criterion of the order
	ticket uint64 // the second criterion of the order; unique
	need   uint64 // firstWithin finds the node if its argument is at least need

	queue       *waitQueue // the queue that embeds the node
	left, right *node
	rank        uint64 // random; not less than that of a child
	minNeed     uint64 // the smallest need in the subtree
	inTree      bool
}

// before reports whether p comes before o.
func (p *node) before(o *node) bool {
	return p.key < o.key || p.key == o.key && p.ticket < o.ticket
}

// update computes p.minNeed from the children of p.
func (p *node) update() {
	p.minNeed = p.need
	for _, child := range []*node{p.left, p.right} {
		if child != nil {
			p.minNeed = min(p.minNeed, child.minNeed)
		}
	}
}

// add adds p, which must not be in a tree.
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

// remove removes p. It does nothing if p is not in a tree.
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

// refresh updates the nodes of a path from the root, from the last one up.
func refresh(path []*node) {
	for i := len(path) - 1; i >= 0; i-- {
		path[i].update()
	}
}

// split splits the subtree sub into the nodes before p and the nodes behind p.
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

// merge joins two subtrees. All nodes of before come before all nodes of behind.
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

// firstWithin returns the first node whose need is at most maxNeed, or nil.
func (t *tree) firstWithin(maxNeed uint64) *node {
	p := t.root
	if p == nil || p.minNeed > maxNeed {
		return nil
	}
	for {
		t.visits++
		switch {
		case p.left != nil && p.left.minNeed <= maxNeed:
			p = p.left
		case p.need <= maxNeed:
			return p
		default:
			p = p.right
		}
	}
}
