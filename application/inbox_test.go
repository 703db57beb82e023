package application

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInboxKeepsOrder(t *testing.T) {
	b := newInbox(false, false)
	n := 0
	for i := range 100 {
		b.put(&message{id: uint64(i)}, fmt.Append(nil, "topic ", i/10))
		if i%3 == 0 {
			m, err := b.get(t.Context())
			require.NoError(t, err)
			assert.EqualValues(t, n, m.id)
			n++
		}
	}
	for ; n < 100; n++ {
		m, err := b.get(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, n, m.id)
		assert.Equal(t, fmt.Sprint("topic ", n/10), m.topic)
	}
	assert.Zero(t, b.head)
	assert.Empty(t, b.queue)
}

func TestInboxWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox(false, false)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := b.get(ctx)
			gone <- err
		}()
		synctest.Wait()
		cancel()
		assert.Equal(t, context.Canceled, <-gone)

		// Each of several goroutines takes one message, and wakes the next goroutine.
		once := make(chan error, 5)
		for range cap(once) {
			go func() {
				_, err := b.get(t.Context())
				once <- err
			}()
		}
		synctest.Wait()
		b.mu.Lock()
		for i := range cap(once) {
			b.queue = append(b.queue, &message{id: uint64(i)})
		}
		b.mu.Unlock()
		b.signal()
		for range cap(once) {
			assert.NoError(t, <-once)
		}

		got := make(chan uint64, 10)
		ends := make(chan error, 10)
		for range 5 {
			go func() {
				for {
					m, err := b.get(t.Context())
					if err != nil {
						ends <- err
						return
					}
					got <- m.id
				}
			}()
		}
		synctest.Wait()
		for i := range uint64(10) {
			b.put(&message{id: i}, nil)
		}
		synctest.Wait()
		assert.Len(t, got, 10, "no goroutine sleeps while there are messages")
		b.end()
		for range 5 {
			assert.Equal(t, io.EOF, <-ends)
		}
	})
}

func TestInboxAtTheEnd(t *testing.T) {
	b := newInbox(false, false)
	b.put(&message{id: 1}, nil)
	b.put(&message{id: 2}, nil)
	b.end()
	b.end()
	for i := range uint64(2) {
		m, err := b.get(t.Context())
		require.NoError(t, err, "messages that have arrived")
		assert.Equal(t, i+1, m.id)
	}
	for range 3 {
		_, err := b.get(t.Context())
		assert.Equal(t, io.EOF, err)
	}
	_, err := newInbox(true, false).get(t.Context())
	assert.Equal(t, io.EOF, err)
}

func TestInboxDrop(t *testing.T) {
	b := newInbox(false, false)
	for i := range uint64(3) {
		b.put(&message{id: i}, nil)
	}
	_, err := b.get(t.Context())
	require.NoError(t, err)
	dropped := b.drop()
	require.Len(t, dropped, 2)
	assert.EqualValues(t, 1, dropped[0].id)
	assert.Empty(t, b.drop())
	assert.False(t, b.put(&message{id: 9}, nil), "put after drop")
	b.end()
	_, err = b.get(t.Context())
	assert.Equal(t, io.EOF, err)
}
