//go:build geminiodebug

package multiplexer

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
)

// Audit finds no difference between two sides at rest. It names credit that is held.
func TestAudit(t *testing.T) {
	newSetup().bothTransports(t, func(t *testing.T, ms [2]*Mux, hs [2]*fakeHandler) {
		hs[1].handle(func(g got) error {
			if g.typ != packet.TypeResponse { // the Mux releases responses
				g.d.Release(g.typ, len(g.body))
			}
			if g.typ == packet.TypeRequest {
				return g.d.Post(packet.TypeResponse, g.seq, make([]byte, 12))
			}
			return nil
		})
		near, _ := openPair(t, ms)
		for i, size := range []int{10, 100_000, 10, 50_000} {
			for _, typ := range []packet.Type{packet.TypeRequest, packet.TypeMessage, packet.TypeResponse} {
				require.NoError(t, near.Send(t.Context(), 0, typ, uint64(i+1), nil, make([]byte, size), AtOnce))
			}
		}
		require.Eventually(t, func() bool { return Audit(ms[0], ms[1]) == nil }, patience, patience/10_000, "%v", Audit(ms[0], ms[1]))
		ms[0].mu.Lock()
		c := near.charge(packet.TypeRequest, 50_000)
		require.True(t, near.admit(9, c))
		near.enqueue(packet.TypeRequest, 9, c, nil, make([]byte, 50_000))
		near.dropQueue()
		ms[0].mu.Unlock()
		require.NoError(t, Audit(ms[0], ms[1]), "the credit of a dropped packet was not refunded")
		hs[1].handle(func(got) error { return nil })
		require.NoError(t, near.Send(t.Context(), 0, packet.TypeRequest, 10, nil, make([]byte, 50_000), AtOnce))
		require.Eventually(t, func() bool {
			ms[1].mu.Lock()
			defer ms[1].mu.Unlock()
			return ms[1].ledger.rx[packet.ClassLargeRequests].held == 50_000
		}, patience, patience/10_000)
		err := Audit(ms[0], ms[1])
		assert.ErrorContains(t, err, "large requests: 50000 held at the peer")
		assert.ErrorContains(t, err, "handlers: 1 outstanding")
	})
}
