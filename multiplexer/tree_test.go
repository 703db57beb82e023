package multiplexer

import (
	"cmp"
	"math/bits"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Random operations on a tree have the same results as those on a sorted slice.
func TestTree(t *testing.T) {
	r := newRand(t)
	for range 20 {
		var tree tree
		var model []*node
		for i := range 1000 {
			if r.IntN(3) > 0 || len(model) == 0 {
				p := &node{key: r.Uint64N(10), ticket: uint64(i), need: r.Uint64N(20)}
				tree.add(p)
				model = append(model, p)
				slices.SortFunc(model, func(a, b *node) int {
					return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.ticket, b.ticket))
				})
			} else {
				k := r.IntN(len(model))
				tree.remove(model[k])
				tree.remove(model[k]) // does nothing
				model = slices.Delete(model, k, k+1)
			}
			maxNeed := r.Uint64N(20)
			var want *node
			if k := slices.IndexFunc(model, func(p *node) bool { return p.need <= maxNeed }); k >= 0 {
				want = model[k]
			}
			require.Same(t, want, tree.firstWithin(maxNeed))
		}
	}
}

// The operations of a tree visit a number of nodes that is logarithmic in its size.
func TestTreeIsBalanced(t *testing.T) {
	r := newRand(t)
	const size = 20_000
	nodes := make([]node, size)
	var tree tree
	for i := range nodes {
		nodes[i] = node{ticket: uint64(i), need: r.Uint64N(100)} // in order, which makes the worst case of an unbalanced tree
		tree.add(&nodes[i])
	}
	for i := range nodes {
		tree.firstWithin(uint64(i % 100))
		tree.remove(&nodes[i])
		tree.add(&nodes[i])
	}
	for i := range nodes {
		tree.remove(&nodes[i])
	}
	assert.Nil(t, tree.root)
	assert.Less(t, tree.visits, uint64(5*size*4*bits.Len(size)))
}
