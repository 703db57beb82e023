package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// wire1Options returns options of Ends that serve peers of wire 1 or refuse them.
func wire1Options(served bool) (*client.EndOptions, *server.EndOptions) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	if !served {
		co.SetRefuseWireV1()
		so.SetRefuseWireV1()
	}
	return co, so
}

// wire1Handshakes makes Ends, which speak wire 2, one after the other.
func wire1Handshakes(tb testing.TB, served bool) side {
	co, so := wire1Options(served)
	return handshakesWith(tb, co, so)
}

// wire1Caller is caller on Ends, which speak wire 2.
func wire1Caller(tb testing.TB, served bool) func() error {
	co, so := wire1Options(served)
	p := rig.NewPair(tb, "tcp", co, so)
	return callerOf(tb, p.Client, p.Server, 256)
}

// BenchmarkServingWire1 does work over wire 2 between Ends that also serve peers of wire 1,
// beside the same work between Ends that refuse them. The metric of-refused is the ratio of
// the paces.
func BenchmarkServingWire1(b *testing.B) {
	b.Run("Handshake", func(b *testing.B) {
		contest{raw: wire1Handshakes(b, false), ours: wire1Handshakes(b, true), ratio: "of-refused"}.run(b)
	})
	b.Run("Call", func(b *testing.B) {
		contest{raw: by(1, wire1Caller(b, false)), ours: by(1, wire1Caller(b, true)), ratio: "of-refused"}.run(b)
	})
	b.Run("Calls64", func(b *testing.B) {
		contest{raw: by(many, wire1Caller(b, false)), ours: by(many, wire1Caller(b, true)), ratio: "of-refused", least: 2 * many}.run(b)
	})
}

// Serving peers of wire 1 costs Ends that speak wire 2 no allocation.
func TestServingWire1Allocations(t *testing.T) {
	count := func(served bool) float64 {
		run := wire1Handshakes(t, served)
		var err error
		n := testing.AllocsPerRun(2000, func() {
			if e := run(1); e != nil {
				err = e
			}
		})
		require.NoError(t, err)
		return n
	}
	refused, served := count(false), count(true)
	t.Logf("%v allocations, %v without", served, refused)
	if served > refused+1 && !kit.Race { // the average of many handshakes may be rounded differently
		t.Errorf("a handshake has %v allocations if peers of wire 1 are served, %v if they are refused", served, refused)
	}
}
