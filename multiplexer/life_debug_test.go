//go:build geminiodebug

package multiplexer

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The states that fit each other are those that the test of the tables begins with.
func TestStatesThatFit(t *testing.T) {
	for life := range lifeStates {
		for send := range sendStates {
			possible := slices.Contains(sendStatesIn[life], send)
			assert.Equal(t, possible, life.fits(send, false), "%v and %v", life, send)
			if life == lifeGone {
				possible = send >= sendEnding
			}
			assert.Equal(t, possible, life.fits(send, true), "%v and %v after the end of the connection", life, send)
		}
	}
}
