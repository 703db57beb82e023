package conn

import (
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

func TestPushDoesNotWaitForAFullSocket(t *testing.T) {
	near, far := kit.TCPPair(t)
	p := &peer{t, far}
	c, u := startOn(t, geminio.RecipientSide, near, p, testConfig())
	frames := u.fillUp(t, c, dataFrame(make([]byte, 60_000)...))
	for range frames {
		p.want(packet.TypeData, "a frame")
	}
	go c.Close(errMine, packet.Reason{})
	p.wantReason(packet.TypeClose, 0, "the Close frame")
	p.nc.Close()
	<-c.Done()
	<-u.over
}

func TestTransportThatCannotLendCopies(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		lender := &countingOwner{}
		u.from = lender
		frame := dataFrame(1, 2, 3)
		u.give(frame)
		c.Push(nil, false)
		synctest.Wait() // until the writer waits for the peer
		assert.Zero(t, c.Reclaim(lender), "buffers that are lent")
		clear(frame)
		assert.Equal(t, []byte{1, 2, 3}, p.want(packet.TypeData, "the copy of the buffer"))
		synctest.Wait()
		assert.Zero(t, lender.returned())
	})
}

// countingConn counts the calls of Write.
type countingConn struct {
	net.Conn
	writes atomic.Int32
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// A batch is one Write.
func TestOneWriteForABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		counted := &countingConn{Conn: near}
		p := &peer{t, far}
		c, u := startOn(t, geminio.RecipientSide, counted, p, testConfig())
		counted.writes.Store(0)
		for range 3 {
			u.give(dataFrame(make([]byte, 5000)...))
		}
		c.Push(nil, false)
		for range 3 {
			p.want(packet.TypeData, "the frames")
		}
		synctest.Wait()
		assert.EqualValues(t, 1, counted.writes.Load())
		far.Close()
		<-u.over
		<-c.Done()
	})
}

// With gather set, a goroutine that is ready to run adds its frame to the batch. The runtime may
// let the writer run first now and then, so most of the rounds count.
func TestGatherOverAnyTransport(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		counted := &countingConn{Conn: near}
		p := &peer{t, far}
		c, u := startOn(t, geminio.RecipientSide, counted, p, testConfig())
		const rounds = 41
		together := 0
		for range rounds {
			counted.writes.Store(0)
			go func() {
				u.give(dataFrame(2))
				c.Push(nil, true)
			}()
			u.give(dataFrame(1))
			c.Push(nil, true)
			p.want(packet.TypeData, "one frame")
			p.want(packet.TypeData, "the other one")
			synctest.Wait()
			if counted.writes.Load() == 1 {
				together++
			}
		}
		assert.Greater(t, together, rounds/2)
		far.Close()
		<-u.over
		<-c.Done()
	})
}

// A read deadline that the library has not set is an error of the transport.
func TestReadDeadlineOfAnyTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, u := startOn(t, geminio.RecipientSide, near, &peer{t, far}, testConfig())
		near.SetReadDeadline(time.Unix(1, 0))
		<-c.Done()
		<-u.over
		assert.ErrorIs(t, u.seen().cause, os.ErrDeadlineExceeded)
		far.Close()
	})
}
