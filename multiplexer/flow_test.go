package multiplexer

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// newRand returns a random source whose seed a failing test prints.
func newRand(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("seed", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

func TestOutflow(t *testing.T) {
	f := outflow{}
	assert.Zero(t, f.takeUpTo(5), "taken without credit")
	require.NoError(t, f.add(packet.ClassRaw, 100))
	assert.Equal(t, 60, f.takeUpTo(60))
	assert.Equal(t, 40, f.takeUpTo(60), "taken with credit for 40")
	assert.Zero(t, f.takeUpTo(60))
	require.NoError(t, f.add(packet.ClassRaw, maxCredit), "the largest credit")
	err := f.add(packet.ClassRaw, 1)
	var bad *packet.Error
	require.ErrorAs(t, err, &bad)
	assert.ErrorContains(t, err, "raw bytes: 1 on top of 2147483647 exceeds 2147483647")
	assert.EqualValues(t, maxCredit, f.avail, "available after an error")
	assert.Error(t, f.add(packet.ClassRaw, 1<<32-1))
}

func TestInflowViolationNamesBothNumbers(t *testing.T) {
	f := newInflow(100)
	require.NoError(t, f.receive(packet.ClassMessages, 60))
	err := f.receive(packet.ClassMessages, 41)
	var bad *packet.Error
	require.ErrorAs(t, err, &bad)
	assert.ErrorContains(t, err, "messages: 41 sent with credit for 40")
	assert.EqualValues(t, 60, f.held, "held after an error")
	assert.EqualValues(t, 40, f.left)
	require.NoError(t, f.receive(packet.ClassMessages, 40), "all that is left")
	assert.Error(t, f.receive(packet.ClassMessages, 1))
	assert.NoError(t, f.receive(packet.ClassMessages, 0))
}

func TestInflowDue(t *testing.T) {
	for _, test := range []struct {
		name               string
		size               uint32
		received, released uint64
		due, dueRaw        bool
	}{
		{"untouched", 100, 0, 0, false, false},
		{"all held", 100, 100, 0, false, false},
		{"less than a quarter was used", 100, 24, 24, false, false},
		{"a quarter was used", 100, 25, 25, false, true},
		{"less than half was used", 100, 49, 49, false, true},
		{"half was used", 100, 50, 50, true, true},
		{"little is free but nothing is left", 100, 100, 1, true, false},
		{"more is left than free", 100, 80, 10, false, false},
		{"as much is free as left", 100, 80, 20, true, false},
		{"a quarter was released", 100, 100, 25, true, true},
		{"a size of one", 1, 1, 1, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newInflow(test.size)
			require.NoError(t, f.receive(packet.ClassRaw, test.received))
			f.release(test.released)
			assert.Equal(t, test.due, f.due())
			assert.Equal(t, test.due, f.dueFor(packet.ClassMessages, 0))
			assert.Equal(t, test.dueRaw, f.dueFor(packet.ClassRaw, 0))
			g := newInflow(test.size)
			require.NoError(t, g.receive(packet.ClassRaw, test.received))
			assert.Equal(t, test.dueRaw, g.dueFor(packet.ClassRaw, test.released), "dueFor before the release")
		})
	}
}

// Random operations of a sender and a receiver keep the equations, and never leave the sender
// without credit while nothing is held.
func TestInflowInvariants(t *testing.T) {
	r := newRand(t)
	for range 200 {
		size := 1 + r.Uint32N(1000)
		f, out := newInflow(size), newOutflow(size)
		received, released := uint64(0), uint64(0)
		check := func() {
			require.LessOrEqual(t, f.held+f.left, f.size)
			require.Equal(t, received-released, uint64(f.held))
			require.Equal(t, f.left, out.avail, "left at the receiver and available at the sender")
			require.EqualValues(t, f.size-f.held-f.left, f.owed())
		}
		for range 500 {
			switch r.IntN(4) {
			case 0:
				n := out.takeUpTo(1 + r.IntN(int(size)))
				require.NoError(t, f.receive(packet.ClassRaw, uint64(n)))
				received += uint64(n)
			case 1:
				require.Error(t, f.receive(packet.ClassRaw, uint64(out.avail)+1+r.Uint64N(10)))
			case 2:
				if f.held > 0 {
					n := 1 + r.Uint64N(uint64(f.held))
					f.release(n)
					released += n
				}
			case 3:
				if r.IntN(10) == 0 && f.size < 1<<20 {
					f.size *= 2
				}
				if f.due() {
					owed := f.owed()
					n := f.grant()
					require.EqualValues(t, owed, n)
					require.Zero(t, f.owed())
					require.NoError(t, out.add(packet.ClassRaw, n))
				}
			}
			check()
		}
		f.release(uint64(f.held))
		if out.avail == 0 {
			require.True(t, f.due(), "nothing is held, the sender has no credit, and none is due")
		}
	}
}

func TestGrantIsBounded(t *testing.T) {
	f := newInflow(1<<32 - 1)
	assert.EqualValues(t, maxCredit, f.left, "the largest credit")
	require.NoError(t, f.receive(packet.ClassRaw, maxCredit))
	f.release(maxCredit)
	assert.EqualValues(t, maxCredit, f.grant())
	assert.Zero(t, f.owed())
}
