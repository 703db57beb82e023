package application

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// byNumber is a map.
func TestByNumber(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var table byNumber[int]
	model := make(map[uint64]*int)
	for range 1000 {
		n := r.Uint64N(6)
		if v := table.get(n); v != nil {
			assert.Same(t, model[n], v)
			table.remove(n)
			delete(model, n)
		} else {
			v := new(int)
			table.add(n, v)
			model[n] = v
		}
		assert.Equal(t, len(model), table.len())
		all := slices.Collect(table.all)
		assert.Len(t, all, len(model))
		for n := range uint64(6) {
			assert.Same(t, model[n], table.get(n))
			assert.Equal(t, model[n] != nil, slices.Contains(all, table.get(n)))
		}
	}
}

// One value at a time needs no map.
func TestByNumberOfOne(t *testing.T) {
	var table byNumber[int]
	for n := range uint64(10) {
		table.add(n, new(int))
		table.remove(n)
	}
	assert.Nil(t, table.others)
}
