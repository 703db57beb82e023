package server

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// sound requires that a share is what its parts are, and that the largest is the first. It
// returns how many sessions it has.
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

// Room is shared by hosts, and of a host by client ids: who takes much of it has its own
// forgotten, the oldest first.
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

		// One of each of some hosts, and of each of some ids of a host.
		var others []*session
		for i := range 10 {
			others = append(others, leave(uint64(i+1), "a", fmt.Sprintf("10.0.1.%d", i)))
			others = append(others, leave(uint64(i+100), "a", "10.0.2.1"))
		}
		// A stranger comes from one host, with many ids and many sessions.
		var strange []*session
		for i := range 1000 {
			strange = append(strange, leave(uint64(1000+i%7), fmt.Sprint(i), "10.6.6.6"))
		}
		for _, v := range others {
			require.True(t, known(v), "%v of %s was forgotten", v.key, v.host)
		}
		for i, v := range strange {
			require.Equal(t, i >= 1000-80, known(v), "the stranger's own are forgotten, the oldest first")
		}
		// Within its host an id that takes much has its own forgotten.
		var quiet []*session
		for i := range 5 {
			quiet = append(quiet, leave(uint64(5000+i), "a", "10.6.6.6"))
		}
		for i := range 1000 {
			leave(6000, fmt.Sprint(i), "10.6.6.6")
		}
		for _, v := range append(others, quiet...) {
			require.True(t, known(v), "%v of %s was forgotten", v.key, v.host)
		}
		// Many hosts of one network of IPv6 are one.
		for i := range 1000 {
			leave(uint64(7000+i), "a", fmt.Sprintf("2001:db8:1:2::%x", i+1))
		}
		for _, v := range others {
			require.True(t, known(v), "%v of %s was forgotten", v.key, v.host)
		}
	})
}
