package conn

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// failingConn is a net.Conn whose Read or Write fails from a moment on.
type failingConn struct {
	net.Conn
	mu          sync.Mutex
	read, write error
}

func (c *failingConn) fail(read, write error) {
	c.mu.Lock()
	c.read, c.write = read, write
	c.mu.Unlock()
	if read != nil {
		c.Conn.Close() // Read returns
	}
}

func (c *failingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.read != nil {
		err = c.read
	}
	return n, err
}

func (c *failingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	err := c.write
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Every error of a transport is a cut, which the session survives.
func TestErrorsOfTransportsAreCuts(t *testing.T) {
	for _, cause := range []error{
		syscall.ETIMEDOUT, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ENETUNREACH, syscall.EHOSTUNREACH,
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, os.ErrDeadlineExceeded,
		&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)},
	} {
		for _, op := range []string{"Read", "Write"} {
			t.Run(fmt.Sprintf("%s %v", op, cause), func(t *testing.T) {
				var clients []*failingConn
				change := func(p *sessionPair) {
					p.wire = func() (net.Conn, net.Conn) {
						near, far := net.Pipe()
						clients = append(clients, &failingConn{Conn: near})
						return clients[len(clients)-1], far
					}
				}
				quietPair(t, change, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
					if op == "Read" {
						clients[0].fail(cause, nil)
					} else {
						clients[0].fail(nil, cause)
					}
					c.give(dataFrame(1))
					p.c.Kick()
					synctest.Wait()
					assert.False(t, p.c.SessionStats().Connected)
					assert.Equal(t, Open, p.c.State())
					_, err, _ := p.resume()
					require.Equal(t, ErrResumed, err)
					synctest.Wait()
					assert.Len(t, s.seen().got, 1)
				})
			})
		}
	}
}

// A violation of the wire is no cut: the session ends.
func TestViolationEndsTheSession(t *testing.T) {
	var raw net.Conn
	change := func(p *sessionPair) {
		p.wire = func() (net.Conn, net.Conn) {
			near, far := net.Pipe()
			raw = near
			return near, far
		}
	}
	quietPair(t, change, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
		go raw.Write([]byte("these bytes are no frame at all"))
		<-p.s.Done()
		assert.ErrorIs(t, p.s.Cause(), geminio.ErrProtocol)
		assert.Zero(t, p.s.SessionStats().Interruptions)
	})
}
