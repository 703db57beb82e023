package multiplexer

import (
	"cmp"
	"math/bits"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A random program on a tree has the same results as one on a sorted slice.
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
				tree.remove(model[k]) // again, which does nothing
				model = slices.Delete(model, k, k+1)
			}
			most := r.Uint64N(20)
			var want *node
			if k := slices.IndexFunc(model, func(p *node) bool { return p.need <= most }); k >= 0 {
				want = model[k]
			}
			require.Same(t, want, tree.firstWithin(most))
		}
	}
}

// Nothing that is done with a tree looks at more than some multiple of the logarithm of
// its size.
func TestTreeIsBalanced(t *testing.T) {
	r := newRand(t)
	const size = 20_000
	places := make([]node, size)
	var tree tree
	for i := range places {
		places[i] = node{ticket: uint64(i), need: r.Uint64N(100)} // in their order, which would not balance by itself
		tree.add(&places[i])
	}
	for i := range places {
		tree.firstWithin(uint64(i % 100))
		tree.remove(&places[i])
		tree.add(&places[i])
	}
	for i := range places {
		tree.remove(&places[i])
	}
	assert.Nil(t, tree.root)
	assert.Less(t, tree.visits, uint64(5*size*4*bits.Len(size)))
}
