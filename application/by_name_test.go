package application

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Few names and many behave like a map and a list of its keys.
func TestByName(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var table byName[int]
	want := make(map[string]int)
	var order []string
	for i := range 10_000 {
		names := 4 + i/1000*4 // few at first, many later
		name := fmt.Sprint("method ", r.IntN(names))
		_, known := want[name]
		assert.Equal(t, known, table.has(name))
		if e := table.find([]byte(name)); known && assert.NotNil(t, e) {
			assert.Equal(t, want[name], e.value)
			assert.Equal(t, name, e.name)
		}
		if r.IntN(3) == 0 {
			table.remove(name)
			delete(want, name)
			order = slices.DeleteFunc(order, func(n string) bool { return n == name })
		} else {
			assert.Equal(t, !known, table.set(name, i))
			want[name] = i
			if !known {
				order = append(order, name)
			}
		}
		assert.Len(t, table.entries, len(order))
	}
	assert.Equal(t, order, table.names())
}
