package conn

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

var errMine = errors.New("mine")

// dataFrame is a frame for the frame handler.
func dataFrame(payload ...byte) []byte {
	return frameOf(packet.Header{Type: packet.TypeData, Stream: 1}, payload...)
}

func TestCloseWritesAllThatIsReadyThenClose(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		const frames = 1000 // more than a batch
		for i := range frames {
			u.give(dataFrame(append(make([]byte, 1000), byte(i))...))
		}
		c.Close(errMine, packet.Reason{Code: uint32(geminio.CodeGoingAway), Text: "bye", Retry: time.Second})
		assert.Equal(t, Closing, c.State())
		for i := range frames {
			payload := p.want(packet.TypeData, "what was ready")
			require.Equal(t, byte(i), payload[1000])
		}
		n := p.wantReason(packet.TypeClose, geminio.CodeGoingAway, "after all that was ready")
		assert.Equal(t, "bye", n.Text)
		assert.Equal(t, time.Second, n.Retry)
		p.wantIdle(time.Second, "nothing follows Close")
		assert.Equal(t, Closing, c.State(), "the peer has not said Close yet")
		p.writeClose(packet.Reason{}, "the answer")
		p.wantEnd("both have said Close")
		<-c.Done()
		<-u.over
		assert.Equal(t, Closed, c.State())
		s := u.seen()
		assert.Equal(t, 1, s.ends)
		assert.True(t, s.deliver)
		assert.Same(t, errMine, s.cause)
		assert.Same(t, errMine, s.readErr)
		assert.Same(t, errMine, c.Cause())
	})
}

func TestNothingFollowsTheCloseFrame(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		c.Close(errMine, packet.Reason{})
		p.wantReason(packet.TypeClose, geminio.CodeOK, "the end of this side")
		p.writePing(1, "asked after the Close frame was sent")
		c.GoAway(packet.Reason{})
		c.Probe()
		u.give(dataFrame(1))
		c.Kick()
		p.wantIdle(time.Second, "the Close frame said that nothing follows")
	})
}

func TestPeersCloseIsAnswered(t *testing.T) {
	for _, test := range []struct {
		name   string
		reason packet.Reason
		want   error
	}{
		{"without an error", packet.Reason{}, io.EOF},
		{"with a code", packet.Reason{Code: uint32(geminio.CodeGoingAway), Text: "maintenance"}, geminio.ErrGoingAway},
		{"with a code of the peer's own", packet.Reason{Code: 4711, Text: "because"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
				p.writeClose(test.reason, "the peer's end")
				p.wantReason(packet.TypeClose, geminio.CodeOK, "the answer")
				p.wantEnd("both have said Close")
				<-u.over
				s := u.seen()
				assert.Equal(t, 1, s.ends)
				assert.False(t, s.deliver, "the peer takes nothing more")
				if test.want != nil {
					assert.ErrorIs(t, s.cause, test.want)
				}
				if test.reason.Code != 0 {
					var remote *geminio.RemoteError
					require.ErrorAs(t, c.Cause(), &remote)
					assert.Equal(t, geminio.RemoteError{Code: geminio.Code(test.reason.Code), Text: test.reason.Text}, *remote)
				}
			})
		})
	}
}

func TestSimultaneousClose(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		start := time.Now()
		c.Close(errMine, packet.Reason{})
		p.writeClose(packet.Reason{Code: 3, Text: "theirs"}, "before ours was read")
		p.wantReason(packet.TypeClose, geminio.CodeOK, "ours")
		p.wantEnd("both have said Close")
		<-c.Done()
		assert.Same(t, errMine, c.Cause(), "the first cause")
		assert.Zero(t, time.Since(start))
	})
}

func TestTwoConnsCloseEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := shake(geminio.RecipientSide, near, testConfig())
		client := shake(geminio.InitiatorSide, far, testConfig())
		var conns []*Conn
		var uppers []*fakeHandler
		for _, ch := range []<-chan result{server, client} {
			r := <-ch
			require.NoError(t, r.err)
			u := &fakeHandler{c: r.c, over: make(chan struct{})}
			r.c.Start(u)
			go u.run()
			conns, uppers = append(conns, r.c), append(uppers, u)
		}
		start := time.Now()
		for _, c := range conns {
			go c.Close(errMine, packet.Reason{})
		}
		for i, c := range conns {
			<-c.Done()
			<-uppers[i].over
		}
		assert.Zero(t, time.Since(start), "both ends have sent Close, so neither lingers")
	})
}

func TestLingerBoundsClose(t *testing.T) {
	for _, test := range []struct {
		name  string
		ready bool
		read  bool // the peer reads
	}{
		{"a peer that never reads", false, false},
		{"a peer that never reads, with work ready", true, false},
		{"a peer that never answers", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.Linger = 3 * time.Second
			onPipe(t, cfg, func(c *Conn, u *fakeHandler, p *peer) {
				if test.ready {
					u.give(dataFrame(make([]byte, 60000)...))
				}
				if test.read {
					p.drain()
				}
				start := time.Now()
				c.Close(errMine, packet.Reason{})
				assert.Zero(t, time.Since(start), "Close does not wait")
				<-c.Done()
				assert.Equal(t, cfg.Linger, time.Since(start))
				assert.Same(t, errMine, c.Cause())
				assert.Equal(t, 1, u.seen().ends)
			})
		})
	}
}

func TestPeerGoesWithoutAWord(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		u.give(dataFrame(1))
		c.Kick() // blocks in the transport
		p.nc.Close()
		<-c.Done()
		<-u.over
		s := u.seen()
		assert.ErrorIs(t, s.readErr, io.ErrUnexpectedEOF)
		assert.ErrorIs(t, c.Cause(), io.ErrUnexpectedEOF)
		assert.Equal(t, 1, s.ends)
		assert.False(t, s.deliver)
		assert.Equal(t, Closed, c.State())
	})
}

// brokenConn is a transport whose Write fails.
type brokenConn struct {
	net.Conn
	broken chan struct{} // closed: from now on
}

var errBroken = errors.New("broken wire")

func (b *brokenConn) Write(p []byte) (int, error) {
	select {
	case <-b.broken:
		return 0, errBroken
	default:
		return b.Conn.Write(p)
	}
}

func TestWriteErrorAborts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		broken := &brokenConn{near, make(chan struct{})}
		p := &peer{t, far}
		c, u := startOn(t, geminio.RecipientSide, broken, p, testConfig())
		close(broken.broken)
		u.give(dataFrame(1))
		c.Kick()
		<-c.Done()
		<-u.over
		assert.ErrorIs(t, c.Cause(), errBroken)
		assert.Equal(t, 1, u.seen().ends)
		p.wantEnd("the transport is closed")
	})
}

func TestFirstCauseWins(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		p.drain()
		assert.NoError(t, c.Cause())
		var all sync.WaitGroup
		causes := make([]error, 20)
		for i := range causes {
			causes[i] = errors.New("one of many causes")
			all.Go(func() {
				if i%2 == 0 {
					c.Close(causes[i], packet.Reason{})
				} else {
					c.abort(causes[i])
				}
			})
		}
		all.Wait()
		first := c.Cause()
		assert.Contains(t, causes, first)
		c.Close(errMine, packet.Reason{})
		<-c.Done()
		<-u.over
		assert.Same(t, first, c.Cause())
		s := u.seen()
		assert.Equal(t, 1, s.ends)
		assert.Same(t, first, s.cause)
		assert.Same(t, first, s.readErr)
	})
}

// stuckReadConn is a transport whose Read does not return on Close.
type stuckReadConn struct {
	net.Conn
	release chan struct{}
}

func (d *stuckReadConn) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	if err != nil {
		<-d.release
	}
	return n, err
}

func TestReadThatNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		deaf := &stuckReadConn{near, make(chan struct{})}
		p := &peer{t, far}
		c, u := startOn(t, geminio.RecipientSide, deaf, p, testConfig())
		p.drain()
		start := time.Now()
		c.Close(errMine, packet.Reason{})
		<-c.Done()
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.Equal(t, 1, u.seen().ends)
		close(deaf.release)
		<-u.over
	})
}

func TestGoAway(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		p.write(packet.AppendReason(nil, packet.TypeGoAway, 0, packet.Reason{Code: 10, Text: "soon", Retry: time.Minute}), "goaway")
		synctest.Wait()
		assert.Equal(t, Draining, c.State())
		assert.Equal(t, []packet.Reason{{Code: 10, Text: "soon", Retry: time.Minute}}, u.seen().away)
		c.GoAway(packet.Reason{Text: "me too"})
		assert.Equal(t, "me too", p.wantReason(packet.TypeGoAway, 0, "ours").Text)
		behind := p.wantPing(packet.TypePing, "a ping behind it")
		p.write(dataFrame(9), "work under way")
		synctest.Wait()
		assert.Len(t, u.seen().got, 1, "frames go on while draining")
		assert.Zero(t, u.seen().goAwayAcks)
		p.writePong(behind, "its answer")
		p.writePong(behind, "again")
		synctest.Wait()
		assert.Equal(t, 1, u.seen().goAwayAcks, "all that was begun before has come")
		c.Close(errMine, packet.Reason{})
		p.wantReason(packet.TypeClose, 0, "the end")
		p.writeClose(packet.Reason{}, "the answer")
		p.wantEnd("closed")
	})
}

func TestWhatArrivesWhileClosingIsThrownAway(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		c.Close(errMine, packet.Reason{})
		p.wantReason(packet.TypeClose, 0, "the end")
		p.write(dataFrame(make([]byte, 50000)...), "late data")
		p.write(packet.AppendReason(nil, packet.TypeGoAway, 0, packet.Reason{}), "late goaway")
		synctest.Wait()
		assert.Empty(t, u.seen().got)
		assert.Equal(t, Closing, c.State(), "not back to draining")
		p.writeClose(packet.Reason{}, "the answer")
		p.wantEnd("closed")
	})
}
