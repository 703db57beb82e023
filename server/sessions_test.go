package server

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newSessions() *sessions { return &sessions{keep: time.Minute} }

// consistent requires that what is counted is what there is.
func consistent(t *testing.T, s *sessions) {
	t.Helper()
	bytes := 0
	for e := s.idle.Front(); e != nil; e = e.Next() {
		v := e.Value.(*session)
		bytes += v.bytes
		require.Same(t, v, s.all[v.key])
		require.Same(t, e, v.place)
		require.Zero(t, v.conns)
	}
	require.Equal(t, bytes, s.bytes, "bytes counted")
	busy := 0
	for _, v := range s.all {
		if v.conns > 0 {
			busy++
			require.Nil(t, v.place)
		}
	}
	require.Equal(t, len(s.all), s.idle.Len()+busy)
}

func TestSessionsOfNobody(t *testing.T) {
	s := newSessions()
	assert.Nil(t, s.attach(1, nil), "a client that names none")
	s.detach(nil)
	consistent(t, s)
}

// A session is that of a client and a name.
func TestSessionsAreApart(t *testing.T) {
	s := newSessions()
	a := s.attach(1, []byte("a"))
	assert.Same(t, a, s.attach(1, []byte("a")))
	assert.NotSame(t, a, s.attach(2, []byte("a")))
	assert.NotSame(t, a, s.attach(1, []byte("b")))
	assert.Len(t, s.all, 3)
	consistent(t, s)
}

// A session is kept for a time after its last connection, and from each anew.
func TestSessionsKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions()
		a := s.attach(1, []byte("a"))
		for range 3 {
			s.detach(a)
			time.Sleep(time.Minute - 1)
			require.Same(t, a, s.attach(1, []byte("a")), "it is remembered")
			consistent(t, s)
			time.Sleep(time.Hour)
			require.Same(t, a, s.attach(1, []byte("a")), "with a connection it lasts")
			s.detach(a)
			consistent(t, s)
		}
		s.detach(a)
		time.Sleep(time.Minute)
		assert.NotSame(t, a, s.attach(1, []byte("a")), "it is forgotten")
		consistent(t, s)
	})
}

// What has expired is let go when any client comes or goes.
func TestSessionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions()
		other := s.attach(9, []byte("other"))
		for id := range uint64(10) {
			s.detach(s.attach(id, []byte("a")))
			time.Sleep(time.Second)
		}
		require.Len(t, s.all, 11)
		time.Sleep(time.Minute - 5*time.Second)
		s.attach(9, []byte("other"))
		assert.Len(t, s.all, 5, "ids 6 to 9, and other")
		consistent(t, s)
		time.Sleep(time.Minute)
		s.detach(other)
		assert.Len(t, s.all, 1)
		assert.Zero(t, s.bytes)
		consistent(t, s)
	})
}

// Many that connect once are no way to fill the memory: the oldest are forgotten
// first, and those that have a connection never.
func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions()
		busy := s.attach(1, []byte("busy"))
		most := maxSessionBytes / sessionOverhead
		name := func(i int) []byte { return fmt.Append(nil, i) }
		for i := range most {
			s.detach(s.attach(1, name(i)))
		}
		require.Len(t, s.all, most+1)
		require.LessOrEqual(t, s.bytes, maxSessionBytes)

		first := s.attach(1, name(0)) // has come back, and is the youngest then
		s.detach(first)
		second := s.all[sessionKey{1, "1"}]
		require.NotNil(t, second)
		for i := range 10 {
			s.detach(s.attach(2, name(i)))
		}
		assert.Len(t, s.all, most+1)
		assert.LessOrEqual(t, s.bytes, maxSessionBytes)
		consistent(t, s)
		assert.Same(t, first, s.attach(1, name(0)))
		assert.NotSame(t, second, s.attach(1, name(1)), "the oldest")
		assert.Same(t, busy, s.attach(1, []byte("busy")))
	})
}
