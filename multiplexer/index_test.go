package multiplexer

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/packet"
)

func TestIndex(t *testing.T) {
	var x index[outgoing]
	key := packetKey{nil, packet.TypeMessage, 0}
	assert.Nil(t, x.get(key), "get of the zero value")
	first, second := &outgoing{}, &outgoing{}
	x.remove(key, first)
	x.add(key, first)
	x.add(key, second)
	assert.Same(t, second, x.get(key), "get after two values with one key")
	x.remove(key, first)
	assert.Same(t, second, x.get(key), "get after remove of another value")
	x.remove(key, second)
	assert.Nil(t, x.get(key))
}

// An index frees its memory when it becomes empty after many entries.
func TestIndexFreesItsMemory(t *testing.T) {
	var x index[outgoing]
	fill := func(n int) {
		for i := range n {
			x.add(packetKey{seq: uint64(i)}, &outgoing{seq: uint64(i)})
		}
		for i := range n {
			key := packetKey{seq: uint64(i)}
			x.remove(key, x.get(key))
		}
	}
	fill(maxRetained)
	assert.NotNil(t, x.all, "memory after few entries")
	fill(maxRetained + 1)
	assert.Nil(t, x.all, "memory after many entries")
	fill(1)
	assert.NotNil(t, x.all)
}
