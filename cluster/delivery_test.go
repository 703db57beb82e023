package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newTestStore returns a store that is not connected.
func newTestStore() *store {
	s := &store{subject: "c.s.", exists: make(chan struct{}), latest: make(map[string]latest)}
	s.fetched.clear()
	return s
}

// TestTheTailOfTheStore brings the sequences of messages as a consumer does.
func TestTheTailOfTheStore(t *testing.T) {
	s := newTestStore()
	check := func(group string, before, last, tail uint64) {
		t.Helper()
		l, at := s.position(group)
		assert.Equal(t, []uint64{before, last, tail}, []uint64{l.before, l.last, at})
	}
	s.note("g", 10, 2) // the last messages of each group
	check("g", 9, 10, 0)
	s.note("h", 12, 1)
	check("h", 11, 12, 0)
	s.note("i", 15, 0)
	check("i", 14, 15, 15)
	s.note("g", 16, 3) // further messages
	check("g", 10, 16, 16)
	s.note("k", 17, 0)
	check("k", 16, 17, 17)
	s.note("g", 10, 0) // again
	check("g", 10, 16, 17)
}

// TestCursors computes the cursor of a client at several states of its groups.
func TestCursors(t *testing.T) {
	n := &Node{view: newView(), store: newTestStore(), nc: &nats.Conn{}}
	n.deliveries = newDeliveries(n)
	n.store.note("g", 100, 1)
	n.store.note("h", 110, 0)
	n.view.watchMember("g", 7, membership{member: true, joined: 50, rev: 3, origin: 3})
	n.view.watchMember("h", 7, membership{member: true, joined: 50, rev: 9, origin: 4})
	n.view.watchMember("i", 7, membership{member: true, joined: 60, rev: 10, origin: 10})
	d := &delivery{client: 7, positions: make(map[string]*position), start: cursor{seq: 70, rev: 5}}
	at := func(group string) position { return d.position(group, n.view.membership(group, 7)) }
	assert.Equal(t, uint64(70), at("g").acked, "the cursor covers this membership")
	assert.Equal(t, uint64(70), at("h").acked, "a later entry of the same membership does not matter")
	assert.Equal(t, uint64(60), at("i").acked, "the cursor is older than this membership")
	assert.Equal(t, cursor{seq: 70, rev: 10}, n.deliveries.of(d), "nothing was answered")

	d.sent("g", 100)
	d.answered("g", 90, false)
	assert.True(t, d.dirty)
	assert.Equal(t, cursor{seq: 70, rev: 10}, n.deliveries.of(d), "h has the messages up to 70")
	d.sent("h", 110)
	d.answered("h", 110, true)
	assert.Equal(t, cursor{seq: 90, rev: 10}, n.deliveries.of(d))
	d.rewind()
	assert.Equal(t, uint64(90), at("g").sent)
	d.sent("g", 95)
	d.skip("g", 100)
	assert.Equal(t, uint64(90), at("g").acked, "a message before is not answered")
	d.answered("g", 95, true)
	assert.Equal(t, cursor{seq: 110, rev: 10}, n.deliveries.of(d), "nothing waits")
	d.skip("g", 105)
	assert.Equal(t, uint64(105), at("g").acked)

	// The client leaves a group and joins it again.
	n.view.watchMember("g", 7, membership{rev: 11})
	n.view.watchMember("g", 7, membership{member: true, joined: 120, rev: 12, origin: 12})
	d.answered("g", 90, false) // late
	n.store.note("g", 130, 0)
	assert.Equal(t, uint64(120), at("g").acked)
	assert.Equal(t, cursor{seq: 120, rev: 12}, n.deliveries.of(d))
	n.view.watchMember("g", 7, membership{rev: 13})
	assert.Equal(t, cursor{seq: 130, rev: 13}, n.deliveries.of(d))
	assert.NotContains(t, d.positions, "g")
	d.sent("g", 130) // late, too
	d.skip("g", 130)
	d.answered("g", 130, true)
	assert.NotContains(t, d.positions, "g")
}

func TestEntriesOfCursorsAndMembers(t *testing.T) {
	c := cursor{1 << 60, 5}
	assert.Equal(t, c, parseCursor(c.value()))
	for _, value := range []string{"", "1", "1 x", "x 1", "1 2 3"} {
		assert.Zero(t, parseCursor([]byte(value)), "%q", value)
	}
	first := membership{member: true, joined: 8}
	assert.Equal(t, membership{member: true, joined: 8, rev: 5, origin: 5}, newMembership(first.value(), true, 5))
	later := membership{member: true, joined: 8, origin: 5}
	assert.Equal(t, membership{member: true, joined: 8, rev: 9, origin: 5}, newMembership(later.value(), true, 9))
	assert.Equal(t, membership{rev: 9, origin: 9}, newMembership(later.value(), false, 9))
}

// TestFetched reads a message once for many callers, and keeps no more than it may.
func TestFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fetched
		f.clear()
		reads, proceed := 0, make(chan struct{})
		read := func(context.Context) (*stored, error) {
			reads++
			<-proceed
			return &stored{seq: 5}, nil
		}
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				m, err := f.get(t.Context(), fetchKey{"g", 4}, read)
				assert.NoError(t, err)
				assert.Equal(t, uint64(5), m.seq)
			})
		}
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := f.get(gone, fetchKey{"g", 4}, read)
		assert.Equal(t, context.Canceled, err)
		close(proceed)
		callers.Wait()
		assert.Equal(t, 1, reads)

		for name, outcome := range map[string]error{"error": errors.New("no"), "nothing": nil} {
			for range 2 { // it is read again
				m, err := f.get(t.Context(), fetchKey{name, 0}, func(context.Context) (*stored, error) { reads++; return nil, outcome })
				assert.Nil(t, m)
				assert.Equal(t, outcome, err)
			}
		}
		assert.Equal(t, 5, reads)
		for i := range 100 {
			_, err := f.get(t.Context(), fetchKey{fmt.Sprint(i), 0}, func(context.Context) (*stored, error) { return &stored{size: 1 << 20}, nil })
			require.NoError(t, err)
			assert.LessOrEqual(t, f.bytes, maxFetched)
		}
		assert.Len(t, f.all, 15)
		assert.Contains(t, f.all, fetchKey{"99", 0})
	})
}
