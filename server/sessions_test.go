package server

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/gauge"
)

// from returns the address of a host.
func from(host string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host), Port: 1234} }

// one is the host of tests with a single host.
var one = from("10.0.0.1")

// minutes returns sessions that are kept for a minute.
func minutes() *sessions { return newSessions(time.Minute) }

// consistent requires that the counts of sessions and bytes are right.
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
	require.Equal(t, bytes, s.memory.bytes, "the count of bytes")
	busy := 0
	for _, v := range s.all {
		if v.conns > 0 {
			busy++
			require.Nil(t, v.place)
			require.Nil(t, v.shared)
		}
	}
	require.Equal(t, len(s.all), s.idle.Len()+busy)
	require.Equal(t, s.idle.Len(), sound(t, &s.memory))
}

func TestSessionsOfNobody(t *testing.T) {
	s := minutes()
	assert.Nil(t, s.attach(1, nil, one, false), "the session of a client without a name for it")
	s.detach(nil)
	consistent(t, s)
}

// A client id and a name identify a session.
func TestSessionsAreApart(t *testing.T) {
	s := minutes()
	a := s.attach(1, []byte("a"), one, false)
	assert.Same(t, a, s.attach(1, []byte("a"), one, false))
	assert.NotSame(t, a, s.attach(2, []byte("a"), one, false))
	assert.NotSame(t, a, s.attach(1, []byte("b"), one, false))
	assert.Len(t, s.all, 3)
	consistent(t, s)
}

// A session is kept for a time after the end of its last connection.
func TestSessionsKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := minutes()
		a := s.attach(1, []byte("a"), one, false)
		for range 3 {
			s.detach(a)
			time.Sleep(time.Minute - 1)
			require.Same(t, a, s.attach(1, []byte("a"), one, false), "the session within the time")
			consistent(t, s)
			time.Sleep(time.Hour)
			require.Same(t, a, s.attach(1, []byte("a"), one, false), "the session while it has a connection")
			s.detach(a)
			consistent(t, s)
		}
		s.detach(a)
		time.Sleep(time.Minute)
		assert.NotSame(t, a, s.attach(1, []byte("a"), one, false), "the session after the time")
		consistent(t, s)
	})
}

// Expired sessions are removed when any client connects or disconnects.
func TestSessionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := minutes()
		other := s.attach(9, []byte("other"), one, false)
		for id := range uint64(10) {
			s.detach(s.attach(id, []byte("a"), one, false))
			time.Sleep(time.Second)
		}
		require.Len(t, s.all, 11)
		time.Sleep(time.Minute - 5*time.Second)
		s.attach(9, []byte("other"), one, false)
		assert.Len(t, s.all, 5, "ids 6 to 9, and other")
		consistent(t, s)
		time.Sleep(time.Minute)
		s.detach(other)
		assert.Len(t, s.all, 1)
		assert.Zero(t, s.memory.bytes)
		consistent(t, s)
	})
}

// The memory of sessions is bounded: the oldest sessions are removed first, and those with a
// connection never.
func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := minutes()
		busy := s.attach(1, []byte("busy"), one, false)
		most := maxSessionBytes / sessionOverhead
		name := func(i int) []byte { return fmt.Append(nil, i) }
		for i := range most {
			s.detach(s.attach(1, name(i), one, false))
		}
		require.Len(t, s.all, most+1)
		require.LessOrEqual(t, s.memory.bytes, maxSessionBytes)

		first := s.attach(1, name(0), one, false) // the client has come back, so its session is the youngest
		s.detach(first)
		second := s.all[sessionKey{1, "1"}]
		require.NotNil(t, second)
		for i := range 10 {
			s.detach(s.attach(2, name(i), one, false))
		}
		assert.Len(t, s.all, most+1)
		assert.LessOrEqual(t, s.memory.bytes, maxSessionBytes)
		consistent(t, s)
		assert.Same(t, first, s.attach(1, name(0), one, false))
		assert.NotSame(t, second, s.attach(1, name(1), one, false), "the oldest session")
		assert.Same(t, busy, s.attach(1, []byte("busy"), one, false))
	})
}

// A session that comes back from another host counts for that host.
func TestSessionsMove(t *testing.T) {
	s := minutes()
	v := s.attach(1, []byte("a"), from("10.0.0.1"), false)
	s.detach(v)
	assert.Same(t, v, s.attach(1, []byte("a"), from("10.0.0.2"), false))
	consistent(t, s)
	s.detach(v)
	consistent(t, s)
	assert.Len(t, s.memory.parts, 1)
	assert.NotNil(t, s.memory.parts["10.0.0.2"])
}

// The counts are right after random operations.
func TestSessionsModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	synctest.Test(t, func(t *testing.T) {
		s := minutes()
		s.maxBytes = 50 * sessionOverhead
		var busy []*session
		for range 1000 {
			if rnd.IntN(2) == 0 || len(busy) == 0 {
				host := fmt.Sprintf("10.0.0.%d", rnd.IntN(6))
				busy = append(busy, s.attach(uint64(rnd.IntN(8)+1), []byte{byte(rnd.IntN(20))}, from(host), false))
			} else {
				i := rnd.IntN(len(busy))
				s.detach(busy[i])
				busy[i] = busy[len(busy)-1]
				busy = busy[:len(busy)-1]
			}
			if rnd.IntN(10) == 0 {
				time.Sleep(time.Duration(rnd.IntN(10)) * time.Second)
			}
			require.LessOrEqual(t, s.memory.bytes, s.maxBytes)
			consistent(t, s)
		}
	})
}

// The count for a session without deliveries is about the memory that it takes.
func TestSessionOverheadIsTrue(t *testing.T) {
	const n = 5000
	name := func(i int) []byte { return fmt.Appendf(nil, "%032d", i) }
	for what, host := range map[string]func(int) string{
		"each of a host of its own": func(i int) string { return fmt.Sprintf("10.0.%d.%d", i/250, i%250) },
		"all of one host":           func(int) string { return "10.0.0.1" },
	} {
		t.Run(what, func(t *testing.T) {
			s := minutes()
			before := gauge.Take()
			for i := range n {
				s.detach(s.attach(uint64(i+1), name(i), from(host(i)), false))
			}
			var heap int64
			gauge.Settle(gauge.Patience, func(u gauge.Usage) bool {
				heap = u.Since(before).Heap
				return heap <= int64(s.memory.bytes)
			})
			t.Logf("%d bytes for each session, %d of them counted", heap/n, s.memory.bytes/n)
			require.LessOrEqual(t, heap, int64(s.memory.bytes))
			require.Len(t, s.all, n)
		})
	}
}

func TestHostOf(t *testing.T) {
	for _, c := range []struct {
		addr net.Addr
		want string
	}{
		{nil, ""},
		{&net.TCPAddr{IP: net.ParseIP("192.0.2.7"), Port: 80}, "192.0.2.7"},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.7"), Port: 80}, "192.0.2.7"},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8:1:2:3:4:5:6"), Port: 80}, "2001:db8:1:2::"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 80}, "fe80::"},
		{&net.IPAddr{IP: net.ParseIP("192.0.2.7")}, "192.0.2.7"},
		{&net.UnixAddr{Name: "/run/s", Net: "unix"}, "unix"},
		{&net.UnixAddr{Name: "@", Net: "unix"}, "unix"},
		{&net.TCPAddr{}, "tcp"},
	} {
		assert.Equal(t, c.want, hostOf(c.addr), "%v", c.addr)
	}
}
