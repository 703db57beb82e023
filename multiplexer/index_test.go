package multiplexer

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/packet"
)

func TestIndex(t *testing.T) {
	var x index[outgoing]
	key := packetKey{nil, packet.TypeMessage, 0}
	assert.Nil(t, x.get(key), "the zero value is empty")
	first, second := &outgoing{}, &outgoing{}
	x.remove(key, first)
	x.add(key, first)
	x.add(key, second)
	assert.Same(t, second, x.get(key), "the last one of a number")
	x.remove(key, first)
	assert.Same(t, second, x.get(key), "another one is not removed")
	x.remove(key, second)
	assert.Nil(t, x.get(key))
}

func TestIndexGivesItsMemoryBack(t *testing.T) {
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
	assert.NotNil(t, x.all, "few: the next ones need no new memory")
	fill(maxRetained + 1)
	assert.Nil(t, x.all, "many")
	fill(1)
	assert.NotNil(t, x.all)
}
