package nilarg

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestError(t *testing.T) {
	err := New("publish", "message")
	assert.Equal(t, &Error{Operation: "publish", Argument: "message"}, err)
	assert.Contains(t, err.Error(), "publish")
	assert.Contains(t, err.Error(), "message")
}
