package application

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
)

// TestNames pins the texts for which programs of the earlier library look.
func TestNames(t *testing.T) {
	for text, pair := range map[string][2]error{
		"remote rpc unregistered": {ErrRemoteRPCUnregistered, geminio.ErrRemoteRPCUnregistered},
		"mismatch clientID":       {ErrMismatchClientID, geminio.ErrMismatchClientID},
		"mismatch streamID":       {ErrMismatchStreamID, geminio.ErrMismatchStreamID},
		"too large":               {ErrPacketTooLarge, geminio.ErrTooLarge},
	} {
		assert.Same(t, pair[1], pair[0], text)
		assert.EqualError(t, pair[0], text)
	}
	var size uint16 = DefaultMaxPacketSize >> 10 // the constant is untyped
	assert.EqualValues(t, 10<<10, size, "KiB")
}
