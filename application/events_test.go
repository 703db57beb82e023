package application

import (
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
)

func TestEventsKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := events{all: &Events{}, log: slog.New(slog.DiscardHandler)}
		var got []int
		for i := range 1000 {
			v.post("", func() { got = append(got, i) }) // one at a time: no lock
		}
		synctest.Wait()
		assert.Len(t, got, 1000)
		for i := range got {
			assert.Equal(t, i, got[i])
		}
		assert.False(t, v.all.running, "no goroutine is left")
		v.post("", func() { got = nil })
		synctest.Wait()
		assert.Nil(t, got, "a callback that is posted later runs too")
	})
}

func TestEventsRunOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := events{all: &Events{}, log: slog.New(slog.DiscardHandler)}
		block, running := make(chan struct{}), 0
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				for range 10 {
					v.post("", func() {
						running++
						assert.Equal(t, 1, running)
						<-block
						running--
					})
				}
			})
		}
		all.Wait() // post does not wait for what runs
		close(block)
		synctest.Wait()
		assert.Zero(t, running)
	})
}

func TestTheLastEventIsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := events{all: &Events{}, log: slog.New(slog.DiscardHandler)}
		var got []string
		v.post("", func() {
			got = append(got, "first")
			v.post("", func() { got = append(got, "posted by the first") })
		})
		v.post("", func() { got = append(got, "second") })
		synctest.Wait()
		v.post("", func() { got = append(got, "third") })
		v.last("", func() {
			got = append(got, "last")
			v.post("", func() { got = append(got, "never") })
			v.last("", func() { got = append(got, "never") })
		})
		v.post("", func() { got = append(got, "never") })
		v.last("", func() { got = append(got, "never") })
		synctest.Wait()
		assert.Equal(t, []string{"first", "second", "posted by the first", "third", "last"}, got)
	})
}
