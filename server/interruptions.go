package server

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/internal/guard"
)

// maxApprovals is how many handshakes may wait for ConnResumed of one End. A client that has given
// up an attempt may make another one while the callback still runs.
const maxApprovals = 4

// errTooManyAttempts refuses an attempt to resume a session beyond maxApprovals.
var errTooManyAttempts = fmt.Errorf("%w: other attempts to resume the session are not decided yet", geminio.ErrTooMany)

// interruptions tells a delegate of the interruptions of one End. Each ConnInterrupted is
// followed by a ConnResumed or by the ConnOffline of the End. The methods of interruptions
// are safe for concurrent use, and do nothing if it is nil.
type interruptions struct {
	log         *slog.Logger
	interrupted func(delegate.ConnDescriber)       // nil if the delegate does not have it
	resumed     func(delegate.ConnDescriber) error // nil if the delegate does not have it
	queue       application.Events                 // runs the callbacks

	mu       sync.Mutex
	approved int  // how many handshakes are about to resume the session
	told     bool // ConnInterrupted was called, and ConnResumed not yet
	ended    bool // end was called
}

// newInterruptions returns nil if d has none of the optional interfaces.
func newInterruptions(log *slog.Logger, d delegate.ServerDelegate) *interruptions {
	i := &interruptions{log: log}
	if d, ok := d.(delegate.ConnInterruptedDelegate); ok {
		i.interrupted = d.ConnInterrupted
	}
	if d, ok := d.(delegate.ConnResumedDelegate); ok {
		i.resumed = d.ConnResumed
	}
	if i.interrupted == nil && i.resumed == nil {
		return nil
	}
	return i
}

// update is called when c has lost its transport or has another one.
func (i *interruptions) update(c *conn.Conn) {
	if i == nil {
		return
	}
	connected := c.SessionStats().Connected || c.State() >= conn.Closing
	i.mu.Lock()
	defer i.mu.Unlock()
	if connected || i.ended || i.told || i.approved > 0 {
		return
	}
	i.told = true
	if i.interrupted != nil {
		i.queue.Post(i.log, "ConnInterrupted", func() { i.interrupted(c) })
	}
}

// approve asks the delegate whether c may continue, unless too many handshakes wait for the
// answer. If c may continue, the caller calls settle when the handshake is over. After end,
// approve does not ask: the client fetches the last bytes of an End that was closed, and
// ConnOffline is the last callback.
func (i *interruptions) approve(c *conn.Conn) error {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	if i.approved >= maxApprovals {
		i.mu.Unlock()
		return errTooManyAttempts
	}
	i.approved++
	if i.ended {
		i.mu.Unlock()
		return nil
	}
	result := make(chan error, 1)
	i.queue.Post(i.log, "ConnResumed", func() {
		if i.resumed == nil {
			result <- nil
			return
		}
		result <- guard.Wait(i.log, "ConnResumed", func() error { return i.resumed(c) })
	})
	i.mu.Unlock()
	err := <-result
	if err != nil {
		i.settle(c)
		return err
	}
	i.mu.Lock()
	i.told = false
	i.mu.Unlock()
	return nil
}

// settle is called when a handshake is over for which approve has returned nil.
func (i *interruptions) settle(c *conn.Conn) {
	if i == nil {
		return
	}
	i.mu.Lock()
	i.approved--
	i.mu.Unlock()
	i.update(c)
}

// end is called before ConnOffline, and waits until the callbacks have returned.
func (i *interruptions) end() {
	if i == nil {
		return
	}
	done := make(chan struct{})
	i.mu.Lock()
	i.ended = true
	i.queue.Post(i.log, "the end of an End", func() { close(done) })
	i.mu.Unlock()
	<-done
}
