package turns

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
)

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns Turns
		var order []int
		var ends []func()
		for i := range 3 {
			wait, done := turns.Take(7)
			ends = append(ends, done)
			go func() {
				wait()
				order = append(order, i)
			}()
		}
		wait, done := turns.Take(8)
		wait() // the turns of another client id
		synctest.Wait()
		assert.Equal(t, []int{0}, order)
		ends[0]()
		synctest.Wait()
		assert.Equal(t, []int{0, 1}, order)
		ends[1]()
		ends[2]()
		done()
		synctest.Wait()
		assert.Equal(t, []int{0, 1, 2}, order)
		assert.Empty(t, turns.last, "nothing is remembered of those who are done")
	})
}
