package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/packet"
)

// interruptionLog is a delegate that notes the callbacks of interruptions.
type interruptionLog struct {
	*delegate.UnimplementedDelegate
	mu     sync.Mutex
	lines  []string
	refuse error
}

func (d *interruptionLog) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *interruptionLog) all() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

func (d *interruptionLog) ConnInterrupted(delegate.ConnDescriber) { d.note("interrupted") }

func (d *interruptionLog) ConnResumed(delegate.ConnDescriber) error {
	d.note("resumed")
	return d.refuse
}

// idleHandler is a conn.FrameHandler that does nothing.
type idleHandler struct{ conn.FrameHandler }

func (idleHandler) End(error, bool)               {}
func (idleHandler) Idle()                         {}
func (idleHandler) OnPing()                       {}
func (idleHandler) AppendFrames(*conn.Batch) bool { return false }

// resumableConn returns a server's Conn with a session, and its transport.
func resumableConn(t *testing.T) (*conn.Conn, net.Conn) {
	opt := NewEndOptions()
	opt.SetResumeKeep(time.Hour)
	cc, _, err := opt.resolve()
	require.NoError(t, err)
	near, far := net.Pipe()
	own := cc.Settings
	own.Log, own.Features = 1<<20, []string{packet.FeatureResume}
	hello, err := packet.AppendConn(nil, packet.Conn{PacketID: 1, Settings: &own})
	require.NoError(t, err)
	go func() {
		near.Write(hello)
		io.Copy(io.Discard, near)
	}()
	c, err := conn.Server(far, cc)
	require.NoError(t, err)
	require.NotNil(t, c.TicketID())
	c.Start(idleHandler{})
	go c.Run()
	return c, near
}

// Callbacks of interruptions alternate, whatever the order of a cut, an approved attempt and
// its outcome.
func TestInterruptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &interruptionLog{}
		i := newInterruptions(slog.New(slog.DiscardHandler), d)
		c, near := resumableConn(t)
		i.update(c)
		assert.Empty(t, d.all(), "it is connected")
		require.NoError(t, i.approve(c), "the client was faster")
		near.Close()
		synctest.Wait()
		i.update(c)
		assert.Equal(t, []string{"resumed"}, d.all(), "the attempt decides")
		i.settle(c)
		assert.Equal(t, []string{"resumed", "interrupted"}, d.all(), "the attempt has failed")
		i.update(c)
		d.refuse = errors.New("no")
		assert.Equal(t, d.refuse, i.approve(c))
		assert.Equal(t, []string{"resumed", "interrupted", "resumed"}, d.all(), "a refused attempt changes nothing")
		i.end()
		i.update(c)
		assert.Len(t, d.all(), 3)
		c.Expire(nil)
		<-c.Done()
	})
}

// Without the optional interfaces there are no interruptions to report.
func TestNoInterruptions(t *testing.T) {
	i := newInterruptions(nil, &delegate.UnimplementedDelegate{})
	assert.Nil(t, i)
	assert.NoError(t, i.approve(nil))
	i.update(nil)
	i.settle(nil)
	i.end()
}
