//go:build geminiodebug

package multiplexer

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
)

// Unlock calls verify, less often if it is costly. A violation would end the process.
func TestLocksVerify(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		synctest.Wait()
		verified := 0
		m.mu.Lock()
		m.mu.skip, m.mu.verify = 0, func() int { verified++; return 640 }
		m.mu.Unlock()
		assert.Equal(t, 1, verified, "calls of verify by one Unlock")
		for range 11 {
			m.mu.Lock()
			m.mu.Unlock()
		}
		assert.Equal(t, 2, verified, "calls of verify: after a check of cost 640 the next 10 are skipped")
		m.mu.Lock()
		m.mu.onUnlock(m.verify)
		m.mu.Unlock()
	})
}
