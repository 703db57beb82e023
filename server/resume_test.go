package server

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The End that is evicted first is the oldest of the host whose Ends hold most, and the
// sums are right, after random events.
func TestResumablesOfHosts(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := newResumables(0, 0)
		var all []*resumable // the oldest first
		for step := range 500 {
			switch n := r.IntN(4); {
			case n < 2 || len(all) == 0:
				e := &resumable{}
				l.addTo(e, fmt.Sprint("host ", r.IntN(8)))
				l.resize(e, r.IntN(1000))
				all = append(all, e)
			case n == 2:
				l.resize(all[r.IntN(len(all))], r.IntN(1000))
			default:
				i := r.IntN(len(all))
				l.attach(all[i])
				all = append(all[:i], all[i+1:]...)
			}
			sums, total := make(map[string]int), 0
			for _, e := range all {
				sums[e.host.name] += e.bytes
				total += e.bytes
			}
			require.Equal(t, total, l.bytes, "seed %d, step %d", seed, step)
			require.Equal(t, len(all), l.detached)
			require.Len(t, l.hosts, len(sums))
			if len(all) == 0 {
				continue
			}
			host := l.largest.First()
			for name, sum := range sums {
				require.Equal(t, sum, l.hosts[name].bytes)
				require.LessOrEqual(t, sum, host.bytes)
			}
			for _, e := range all {
				if e.host == host {
					require.Same(t, e, host.ends.Front().Value.(*resumable), "the oldest")
					break
				}
			}
		}
	}
}
