package attack

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// slowDelegate is a delegate whose callbacks return when block is closed.
type slowDelegate struct {
	*delegate.UnimplementedDelegate
	block chan struct{}
}

func (s *slowDelegate) RemoteRegistration(string, uint64, uint64) { <-s.block }

func (s *slowDelegate) Heartbeat(delegate.ConnDescriber) error {
	<-s.block
	return nil
}

// A delegate blocks in RemoteRegistration. The registrations that it has not been told of
// hold their credit, which bounds their number.
func TestSlowDelegateBoundsRegistrations(t *testing.T) {
	const (
		registers = 200_000
		heap      = 4096*2048 + connHeap
	)
	d := &slowDelegate{block: make(chan struct{})}
	w := serverSetup{options: func(o *server.EndOptions) { o.SetDelegate(d) }}
	overTCP(t, w, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		defer close(d.block)
		name := make([]byte, 1000)
		for i := range registers {
			a.mu.Lock()
			give := a.handlerCredit
			a.handlerCredit--
			a.mu.Unlock()
			if give <= 0 { // the credit is used up, and does not come back
				break
			}
			a.mustSend(frame(nil, packet.TypeRegister, 0, 1, uint64(i+1), name), "a registration")
			if i%1000 == 999 {
				a.until(func() bool { return a.counts[packet.TypeRegistered] > i })
			}
		}
		s.wantService("during the attack")
		before.wantAtMost(t, heap, connGoroutines+4, "registrations that wait for the delegate")
		require.False(t, a.over())
	})
}

// A delegate blocks in Heartbeat. Heartbeats that arrive meanwhile are not queued.
func TestSlowDelegateBoundsHeartbeats(t *testing.T) {
	const (
		seconds = 100 / kit.Slowdown
		heap    = 256 << 10 // bytes, of 100000 heartbeats
	)
	d := &slowDelegate{block: make(chan struct{})}
	inBubble(t, serverSetup{options: func(o *server.EndOptions) { o.SetDelegate(d) }}, func(t *testing.T, s *targetServer) {
		d.block = make(chan struct{}) // made in the bubble, before any callback
		defer func() { close(d.block) }()
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		for range seconds {
			for range maxPings {
				a.mustSend(packet.AppendPing(nil, packet.TypePing, 1), "a heartbeat")
			}
			time.Sleep(time.Second)
		}
		s.wantService("during the attack")
		before.wantAtMost(t, heap, connGoroutines, "heartbeats while the delegate blocks")
		require.False(t, a.over())
	})
}
