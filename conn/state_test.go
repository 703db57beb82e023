package conn

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestStateNeverGoesBack(t *testing.T) {
	for from := Handshaking; from <= Closed; from++ {
		for to := Handshaking; to <= Closed; to++ {
			c := &Conn{}
			c.state.Store(uint32(from))
			assert.Equal(t, to > from, c.setState(to), "%v to %v", from, to)
			assert.Equal(t, max(from, to), c.State(), "%v to %v", from, to)
		}
	}
}
