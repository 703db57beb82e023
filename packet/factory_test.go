package packet

import (
	"testing"

	"github.com/singchia/geminio/pkg/id"
	"github.com/stretchr/testify/assert"
)

func TestPacketFactory(t *testing.T) {
	f := NewPacketFactory(id.NewIDCounter(id.Odd))
	first := f.NewPacketID()
	assert.Equal(t, uint64(1), first%2)
	assert.Equal(t, first+2, f.NewPacketID())
}
