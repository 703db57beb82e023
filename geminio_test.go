package geminio

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSideValues(t *testing.T) {
	assert.Equal(t, 0, int(InitiatorSide))
	assert.Equal(t, 1, int(RecipientSide))
}

func TestSideString(t *testing.T) {
	assert.Equal(t, "initiator", InitiatorSide.String())
	assert.Equal(t, "recipient", RecipientSide.String())
	assert.Equal(t, "side(-1)", Side(-1).String())
}
