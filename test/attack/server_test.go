package attack

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// forever is the time for which a test waits for an event that has no bound of its own.
const forever = 2 * time.Minute

// served is an End of a targetServer.
type served interface {
	geminio.End
	geminio.Doner
	geminio.Causer
}

// targetServer is a server under attack, with a client that follows the protocol. Only the
// goroutine of the test may call its methods.
type targetServer struct {
	t          testing.TB
	l          server.Listener
	dial       func() (net.Conn, error)
	pipes      *kit.PipeListener // nil over TCP
	read       atomic.Int64      // bytes that the server has read from all connections
	goodClient geminio.End
	serverSetup
	acceptEnded    chan struct{} // closed when AcceptEnd has failed
	releaseIgnored chan struct{} // closed by close: lets the handlers of ignore return

	running, peak, started atomic.Int64 // handlers of hang and ignore

	mu   sync.Mutex
	cond *sync.Cond
	ends map[uint64]served
}

// serverSetup says how a test wants its targetServer. Each function may be nil.
type serverSetup struct {
	options func(*server.EndOptions) // sets options of the server
	serve   func(geminio.End)        // is called for each End, which serves calls already
	meta    func() []byte            // returns the meta of the well-behaved clients
}

// onPipeAndTCP runs a test with a server in memory, in a bubble, and with one over TCP.
func onPipeAndTCP(t *testing.T, w serverSetup, test func(t *testing.T, s *targetServer)) {
	t.Helper()
	t.Run("pipe", func(t *testing.T) { inBubble(t, w, test) })
	t.Run("tcp", func(t *testing.T) { overTCP(t, w, test) })
}

// inBubble runs a test with a server in memory, in a bubble, where time is exact.
func inBubble(t *testing.T, w serverSetup, test func(t *testing.T, s *targetServer)) {
	t.Helper()
	settleHeap()
	synctest.Test(t, func(t *testing.T) {
		l := kit.NewPipeListener()
		s := newTargetServer(t, l, l.Dial, w)
		s.pipes = l
		defer s.close()
		test(t, s)
	})
}

// overTCP runs a test with a server on a loopback address.
func overTCP(t *testing.T, w serverSetup, test func(t *testing.T, s *targetServer)) {
	t.Helper()
	settleHeap()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := newTargetServer(t, l, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }, w)
	defer s.close()
	test(t, s)
}

func newTargetServer(t testing.TB, l net.Listener, dial func() (net.Conn, error), w serverSetup) *targetServer {
	t.Helper()
	opt := server.NewEndOptions()
	if w.options != nil {
		w.options(opt)
	}
	s := &targetServer{
		t: t, dial: dial, serverSetup: w, ends: make(map[uint64]served),
		acceptEnded: make(chan struct{}), releaseIgnored: make(chan struct{}),
	}
	s.cond = sync.NewCond(&s.mu)
	var err error
	s.l, err = server.NewListener(countingListener{l, s}, opt)
	require.NoError(t, err)
	go s.accept()
	s.goodClient = s.client()
	s.wantService("before the attack")
	return s
}

// accept is the application of the server.
func (s *targetServer) accept() {
	defer close(s.acceptEnded)
	for {
		end, err := s.l.AcceptEnd()
		if err != nil {
			return
		}
		known := options.Hijack()
		known.SetMatch(true, "^(echo|hang|ignore)$")
		if err := end.Hijack(s.handle, known); err != nil {
			panic(err)
		}
		if s.serve != nil {
			s.serve(end)
		}
		s.mu.Lock()
		s.ends[end.ClientID()] = end.(served)
		s.cond.Broadcast()
		s.mu.Unlock()
	}
}

// handle serves calls: echo answers at once, hang waits for the end of its context, and ignore
// waits for the end of the test.
func (s *targetServer) handle(ctx context.Context, method string, req geminio.Request, resp geminio.Response) {
	switch method {
	case "echo":
		resp.SetData(req.Data())
	case "hang":
		s.count(func() { <-ctx.Done() })
	case "ignore":
		s.count(func() { <-s.releaseIgnored })
	}
}

func (s *targetServer) count(work func()) {
	s.started.Add(1)
	now := s.running.Add(1)
	for old := s.peak.Load(); now > old && !s.peak.CompareAndSwap(old, now); old = s.peak.Load() {
	}
	work()
	s.running.Add(-1)
}

// end returns the End of a client at the server. It waits until the application has it.
func (s *targetServer) end(clientID uint64) served {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ends[clientID] == nil {
		s.cond.Wait()
	}
	return s.ends[clientID]
}

// client returns a new client that follows the protocol.
func (s *targetServer) client() geminio.End {
	s.t.Helper()
	nc, err := s.dial()
	require.NoError(s.t, err)
	opt := client.NewEndOptions()
	if s.meta != nil {
		opt.SetMeta(s.meta())
	}
	end, err := client.NewEndWithConn(nc, opt)
	require.NoError(s.t, err)
	s.end(end.ClientID())
	return end
}

// wantService requires that the client from before the attack and a new one can make calls.
func (s *targetServer) wantService(reason string) {
	s.t.Helper()
	newcomer := s.client()
	defer newcomer.Close()
	for _, end := range []geminio.End{s.goodClient, newcomer} {
		ctx, cancel := context.WithTimeout(context.Background(), forever)
		resp, err := end.Call(ctx, "echo", end.NewRequest([]byte("good")))
		cancel()
		require.NoError(s.t, err, reason)
		require.Equal(s.t, "good", string(resp.Data()), reason)
	}
}

// dropEnd removes the End of an attacker that has disconnected, so that it is garbage.
func (s *targetServer) dropEnd(a *attacker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ends, a.end.ClientID())
	a.end = nil
}

// close closes the server and its clients, and waits for all of their goroutines.
func (s *targetServer) close() {
	close(s.releaseIgnored)
	s.goodClient.Close()
	s.l.Close()
	<-s.acceptEnded
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, end := range s.ends {
		end.Close()
		<-end.Done()
	}
}

// countingListener counts the bytes that are read from the connections that it accepts.
type countingListener struct {
	net.Listener
	s *targetServer
}

func (l countingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if _, tcp := nc.(*net.TCPConn); err != nil || tcp {
		return nc, err // the library reads a wrapped TCP connection in another way
	}
	return countingConn{nc, l.s}, nil
}

type countingConn struct {
	net.Conn
	s *targetServer
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.s.read.Add(int64(n))
	return n, err
}
