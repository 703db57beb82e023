package conn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// scriptedHandler is a FrameHandler that sends frames and records what happens.
type scriptedHandler struct {
	c *Conn

	mu     sync.Mutex
	ready  [][]byte
	log    []string
	got    int // data frames
	end    error
	acked  bool
	goAway string
	onData func(n int)
}

func (s *scriptedHandler) record(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *scriptedHandler) Frame(h packet.Header) error {
	p, err := s.c.Payload()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.record("%v %d bytes %x", h.Type, len(p), p[:min(len(p), 8)])
	s.got++
	n := s.got
	s.mu.Unlock()
	for i := range p {
		if p[i] != p[0] {
			return errors.New("the payload is damaged")
		}
	}
	if s.onData != nil {
		s.onData(n)
	}
	return nil
}

func (s *scriptedHandler) AppendFrames(b *Batch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b.Room() > 0 && len(s.ready) > 0 {
		b.Buf = append(b.Buf, s.ready[0]...)
		s.ready = s.ready[1:]
	}
	if s.goAway != "" && len(s.ready) == 0 {
		s.c.AckGoAway()
	}
	return len(s.ready) > 0
}

func (s *scriptedHandler) send(frames ...[]byte) {
	s.mu.Lock()
	s.ready = append(s.ready, frames...)
	s.mu.Unlock()
	s.c.Kick()
}

func (s *scriptedHandler) Idle()         {}
func (s *scriptedHandler) OnPing()       {}
func (s *scriptedHandler) OnPong(uint64) {}
func (s *scriptedHandler) OnLink()       {}
func (s *scriptedHandler) OnHeartbeat()  {}
func (s *scriptedHandler) GoAway(r packet.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.goAway = r.Text // GoAway is not ordered with the frames of the handler
}

func (s *scriptedHandler) NotReceived(packet.Header, uint64) {}

func (s *scriptedHandler) OnGoAwayAcked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = true // the time depends on the link: Pings are not sent again in order
}

func (s *scriptedHandler) End(cause error, _ bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = cause
	s.record("end %v, goaway %q, acknowledged: %v", cause, s.goAway, s.acked)
}

// resumingNetwork lets a client resume its session over wires.
type resumingNetwork struct {
	t     *testing.T
	mu    sync.Mutex
	dials int
	wires func(dial int) (client, server *kit.CutEnd) // nil wires: no transport
	conns map[string]*Conn                            // of the server, by ticket
	all   []*scriptedHandler                          // of the server

	server, client *Config
	newServer      func(*Conn) *scriptedHandler
	closed         chan struct{}
	wg             sync.WaitGroup
	used           []*kit.CutEnd
}

func newResumingNetwork(t *testing.T, wires func(int) (*kit.CutEnd, *kit.CutEnd)) *resumingNetwork {
	n := &resumingNetwork{t: t, wires: wires, conns: make(map[string]*Conn), closed: make(chan struct{})}
	n.server, n.client = testConfig(), testConfig()
	n.server.Resume = &ResumeConfig{Keep: 2 * time.Minute, Log: MinLog, Find: func(id []byte) *Conn {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.conns[string(id)]
	}}
	n.client.Resume = &ResumeConfig{Keep: 2 * time.Minute, Log: MinLog, Interrupted: func(c *Conn, _ error) {
		n.wg.Go(func() {
			n.resume(c)
		})
	}}
	return n
}

// serve accepts one transport.
func (n *resumingNetwork) serve(nc net.Conn) {
	defer n.wg.Done()
	c, err := Server(nc, n.server)
	if err != nil {
		return
	}
	s := n.newServer(c)
	n.mu.Lock()
	n.conns[string(c.TicketID())] = c
	n.all = append(n.all, s)
	n.mu.Unlock()
	c.Start(s)
	readAll(c)
}

// dial makes one attempt to connect.
func (n *resumingNetwork) dial(old *Conn) (*Conn, error) {
	n.mu.Lock()
	n.dials++
	near, far := n.wires(n.dials)
	n.used = append(n.used, near, far)
	n.mu.Unlock()
	cfg := *n.client
	r := *n.client.Resume
	r.Session = old
	cfg.Resume = &r
	n.wg.Add(1)
	go n.serve(far)
	return Client(near, &cfg)
}

func (n *resumingNetwork) resume(c *Conn) {
	for c.State() < Closed {
		time.Sleep(10 * time.Millisecond)
		if _, err := n.dial(c); err == nil || err == ErrResumed {
			return
		}
	}
}

// connect dials until there is a connection.
func (n *resumingNetwork) connect() *Conn {
	for {
		c, err := n.dial(nil)
		if err == nil {
			return c
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// payload returns a data frame whose bytes all have the value v.
func valueFrame(v byte, size int) []byte { return dataFrame(bytes.Repeat([]byte{v}, size)...) }

// transcript runs the script over the wires and returns what both sides have recorded.
func transcript(t *testing.T, wires func(int) (*kit.CutEnd, *kit.CutEnd)) (client, server []string, n *resumingNetwork) {
	n = newResumingNetwork(t, wires)
	frames := func() (f [][]byte) {
		for i, size := range []int{1, 0, 7, 40, 2, 90} {
			f = append(f, valueFrame(byte(i+1), size))
		}
		return f
	}
	n.newServer = func(c *Conn) *scriptedHandler {
		s := &scriptedHandler{c: c}
		s.onData = func(got int) {
			if got <= 6 {
				s.send(frames()[got-1], valueFrame(byte(got), 3))
			}
		}
		return s
	}
	c := n.connect()
	over := make(chan struct{})
	s := &scriptedHandler{c: c}
	s.onData = func(got int) {
		switch got {
		case 4:
			c.GoAway(packet.Reason{Text: "soon"})
		case 12:
			close(over)
			return
		}
		if got%2 == 0 {
			s.send(frames()[got/2])
		}
	}
	c.Start(s)
	ended := make(chan struct{})
	go func() {
		readAll(c)
		<-c.Done()
		close(ended)
	}()
	s.send(frames()[0])
	select {
	case <-over:
	case <-time.After(time.Hour):
		t.Errorf("the script does not end: %v", s.log)
	}
	time.Sleep(101 * time.Second) // for the answer of the Ping behind GoAway on another link; no Ping is due now
	c.Close(io.EOF, packet.Reason{})
	<-ended
	n.mu.Lock()
	all := slices.Clone(n.all)
	n.mu.Unlock()
	for _, s := range all {
		<-s.c.Done()
	}
	synctest.Wait() // Interrupted, which adds to n.wg, may still be running
	n.wg.Wait()
	s.mu.Lock()
	client = s.log
	s.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		if s.got > 0 {
			server = append(server, s.log...)
		}
		s.mu.Unlock()
	}
	return client, server, n
}

// uncutPipe is a wire that lasts.
func uncutPipe(int) (*kit.CutEnd, *kit.CutEnd) {
	return kit.NewCutPipe(kit.CutFIN, kit.NoCut, kit.NoCut)
}

// A session continues after a cut at any byte of any direction, and both sides see what
// they see without a cut.
func TestCutAtEveryByte(t *testing.T) {
	var client, server []string
	var total [2]int
	synctest.Test(t, func(t *testing.T) {
		var n *resumingNetwork
		client, server, n = transcript(t, uncutPipe)
		total = [2]int{n.used[0].Sent(), n.used[1].Sent()}
		require.Equal(t, 1, n.dials)
	})
	require.Len(t, client, 13)
	require.Len(t, server, 7)
	require.Contains(t, client[12], "acknowledged: true")
	modes := []kit.CutMode{kit.CutFIN, kit.CutRST, kit.CutSilence}
	for _, mode := range modes {
		for side := range 2 {
			t.Run(fmt.Sprintf("%v of side %d", mode, side), func(t *testing.T) {
				t.Parallel()
				first, step := 1, 1
				if kit.Race { // each byte is cut once at each side, in one of the modes
					first, step = 1+int(mode), len(modes)
				}
				for at := first; at < total[side]; at += step {
					cutAt := func(dial int) (*kit.CutEnd, *kit.CutEnd) {
						limits := [2]int{kit.NoCut, kit.NoCut}
						if dial == 1 {
							limits[side] = at
						}
						return kit.NewCutPipe(mode, limits[0], limits[1])
					}
					synctest.Test(t, func(t *testing.T) {
						gotClient, gotServer, _ := transcript(t, cutAt)
						require.Equal(t, client, gotClient, "the client, cut at %d of %d", at, total[side])
						last := len(server)
						if mode == kit.CutSilence {
							last-- // a Close frame may be lost for good: Config.Linger is too short to notice
						}
						require.Len(t, gotServer, len(server))
						require.Equal(t, server[:last], gotServer[:last], "the server, cut at %d of %d", at, total[side])
					})
				}
			})
		}
	}
}

// The next link may be cut too, at any byte of the handshake and of the replay.
func TestCutOfTheNextLink(t *testing.T) {
	var client, server []string
	synctest.Test(t, func(t *testing.T) { client, server, _ = transcript(t, uncutPipe) })
	for side := range 2 {
		for at := 1; at < 1100; at += 5 {
			cutAt := func(dial int) (*kit.CutEnd, *kit.CutEnd) {
				limits := [2]int{kit.NoCut, kit.NoCut}
				switch dial {
				case 1:
					limits[1-side] = 640
				case 2, 3:
					limits[side] = at
				}
				return kit.NewCutPipe(kit.CutMode(at%2), limits[0], limits[1])
			}
			synctest.Test(t, func(t *testing.T) {
				gotClient, gotServer, _ := transcript(t, cutAt)
				require.Equal(t, client, gotClient, "the client, cut at %d of side %d", at, side)
				require.Equal(t, server, gotServer, "the server, cut at %d of side %d", at, side)
			})
		}
	}
}

// A Close without a link ends the session if the peer has received everything, unless HoldClose
// is in effect.
func TestHoldClose(t *testing.T) {
	for holds := range 3 {
		quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
			p.cut(0)
			synctest.Wait()
			for range holds {
				p.c.HoldClose()
			}
			p.c.Close(io.EOF, packet.Reason{})
			for range holds {
				synctest.Wait()
				assert.Equal(t, Closing, p.c.State())
				p.c.ReleaseClose()
			}
			synctest.Wait()
			assert.Equal(t, Closed, p.c.State())
		})
	}
	quietPair(t, nil, func(t *testing.T, p *sessionPair, c, s *fakeHandler) {
		p.cut(0)
		synctest.Wait()
		p.c.HoldClose()
		p.c.Close(io.EOF, packet.Reason{})
		_, err, _ := p.resume()
		require.Equal(t, ErrResumed, err)
		synctest.Wait()
		assert.Equal(t, io.EOF, s.seen().cause, "the peer has learnt of the end")
		assert.Equal(t, Closed, p.c.State())
	})
}
