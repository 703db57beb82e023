package server

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sound requires that the size of a share is the sum of its parts, and that the largest part is
// the first. It returns the number of sessions.
func sound(t *testing.T, s *share) (n int) {
	t.Helper()
	bytes := 0
	for e := s.idle.Front(); e != nil; e = e.Next() {
		bytes += e.Value.(*session).bytes
		n++
	}
	require.Equal(t, len(s.parts), s.order.Len())
	for _, part := range s.parts {
		require.True(t, part.Queued())
		require.Positive(t, part.bytes)
		require.LessOrEqual(t, part.bytes, s.order.First().bytes)
		bytes += part.bytes
		n += sound(t, part)
	}
	require.Equal(t, bytes, s.bytes)
	return n
}

// Hosts share the memory, and the client ids of a host share its part. A host or id that takes
// most of it loses its own sessions, the oldest first.
func TestSessionsShareRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := minutes()
		s.maxBytes = 100 * sessionOverhead
		leave := func(id uint64, name string, host string) *session {
			v := s.attach(id, []byte(name), from(host), false)
			s.detach(v)
			if time.Sleep(time.Millisecond); len(s.all)%16 == 0 {
				consistent(t, s)
			}
			return v
		}
		known := func(v *session) bool { return s.all[v.key] == v }

		// One session of each of several hosts, and of each of several ids of a host.
		var others []*session
		for i := range 10 {
			others = append(others, leave(uint64(i+1), "a", fmt.Sprintf("10.0.1.%d", i)))
			others = append(others, leave(uint64(i+100), "a", "10.0.2.1"))
		}
		// Another client has many ids and many sessions on one host.
		var strange []*session
		for i := range 1000 {
			strange = append(strange, leave(uint64(1000+i%7), fmt.Sprint(i), "10.6.6.6"))
		}
		for _, v := range others {
			require.True(t, known(v), "the session %v of %s was removed", v.key, v.host)
		}
		for i, v := range strange {
			require.Equal(t, i >= 1000-80, known(v), "a session of the other client; the oldest ones are removed")
		}
		// An id that takes most of the part of its host loses its own sessions.
		var quiet []*session
		for i := range 5 {
			quiet = append(quiet, leave(uint64(5000+i), "a", "10.6.6.6"))
		}
		for i := range 1000 {
			leave(6000, fmt.Sprint(i), "10.6.6.6")
		}
		for _, v := range append(others, quiet...) {
			require.True(t, known(v), "the session %v of %s was removed", v.key, v.host)
		}
		// All hosts of an IPv6 network count as one.
		for i := range 1000 {
			leave(uint64(7000+i), "a", fmt.Sprintf("2001:db8:1:2::%x", i+1))
		}
		for _, v := range others {
			require.True(t, known(v), "the session %v of %s was removed", v.key, v.host)
		}
	})
}

// TestShareHasTheLargestFirst adds sessions of two hosts and removes them again.
func TestShareHasTheLargestFirst(t *testing.T) {
	var all share
	add := func(host string, clientID uint64, bytes int) *session {
		s := &session{key: sessionKey{clientID: clientID}, host: host, bytes: bytes}
		all.add(s)
		sound(t, &all)
		return s
	}
	remove := func(s *session) {
		all.remove(s)
		sound(t, &all)
	}
	small := add("a", 1, 10)
	assert.Same(t, small, all.largest())
	older, newer := add("b", 2, 8), add("b", 2, 1)
	other := add("b", 3, 5)
	assert.Equal(t, 24, all.bytes)
	assert.Same(t, older, all.largest(), "the oldest of the largest client id of the largest host")
	remove(older)
	assert.Same(t, small, all.largest(), "host a needs more now")
	remove(small)
	assert.Same(t, other, all.largest(), "client id 3 needs more than 2")
	remove(other)
	assert.Same(t, newer, all.largest())
	remove(newer)
	assert.Zero(t, all.bytes)
	assert.Empty(t, all.parts)
}

func TestShareOfTheSameSize(t *testing.T) {
	var all share
	first := &session{key: sessionKey{clientID: 1}, host: "a", bytes: 10}
	second := &session{key: sessionKey{clientID: 2}, host: "b", bytes: 10}
	all.add(first)
	all.add(second)
	assert.Same(t, first, all.largest(), "the one that was added earlier")
	all.remove(first)
	all.add(first)
	assert.Same(t, second, all.largest())
}
