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

// dataFrame returns a frame for the FrameHandler.
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
			payload := p.want(packet.TypeData, "a frame that was ready")
			require.Equal(t, byte(i), payload[1000])
		}
		n := p.wantReason(packet.TypeClose, geminio.CodeGoingAway, "the Close frame after the frames that were ready")
		assert.Equal(t, "bye", n.Text)
		assert.Equal(t, time.Second, n.Retry)
		p.wantIdle(time.Second, "after the Close frame")
		assert.Equal(t, Closing, c.State(), "the state before the Close frame of the peer")
		p.writeClose(packet.Reason{}, "the answer to the Close frame")
		p.wantEnd("after the Close frames of both sides")
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
		p.wantReason(packet.TypeClose, geminio.CodeOK, "the Close frame")
		p.writePing(1, "a ping after the Close frame")
		c.GoAway(packet.Reason{})
		c.Probe()
		u.give(dataFrame(1))
		c.Kick()
		p.wantIdle(time.Second, "an answer after the Close frame")
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
				p.writeClose(test.reason, "the Close frame of the peer")
				p.wantReason(packet.TypeClose, geminio.CodeOK, "the answer to the Close frame")
				p.wantEnd("after the Close frames of both sides")
				<-u.over
				s := u.seen()
				assert.Equal(t, 1, s.ends)
				assert.False(t, s.deliver, "deliver in the call of End")
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
		p.writeClose(packet.Reason{Code: 3, Text: "theirs"}, "the Close frame of the peer, before it has read that of this side")
		p.wantReason(packet.TypeClose, geminio.CodeOK, "ours")
		p.wantEnd("after the Close frames of both sides")
		<-c.Done()
		assert.Same(t, errMine, c.Cause(), "the cause, which is that of the first close")
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
				assert.Zero(t, time.Since(start), "the time that Close takes")
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

// brokenConn is a net.Conn whose Write fails when broken is closed.
type brokenConn struct {
	net.Conn
	broken chan struct{} // closed when Write fails
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
		p.wantEnd("after Write failed")
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

// stuckReadConn is a net.Conn whose Read does not return on Close.
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
		assert.Equal(t, "me too", p.wantReason(packet.TypeGoAway, 0, "the GoAway of this side").Text)
		behind := p.wantPing(packet.TypePing, "the ping after GoAway")
		p.write(dataFrame(9), "a frame while draining")
		synctest.Wait()
		assert.Len(t, u.seen().got, 1, "frames that the handler got while draining")
		assert.Zero(t, u.seen().goAwayAcks)
		p.writePong(behind, "the pong")
		p.writePong(behind, "again")
		synctest.Wait()
		assert.Equal(t, 1, u.seen().goAwayAcks, "calls of OnGoAwayAcked")
		c.Close(errMine, packet.Reason{})
		p.wantReason(packet.TypeClose, 0, "the end")
		p.writeClose(packet.Reason{}, "the answer to the Close frame")
		p.wantEnd("closed")
	})
}

func TestWhatArrivesWhileClosingIsThrownAway(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		c.Close(errMine, packet.Reason{})
		p.wantReason(packet.TypeClose, 0, "the end")
		p.write(dataFrame(make([]byte, 50000)...), "data after the Close frame")
		p.write(packet.AppendReason(nil, packet.TypeGoAway, 0, packet.Reason{}), "GoAway after the Close frame")
		synctest.Wait()
		assert.Empty(t, u.seen().got)
		assert.Equal(t, Closing, c.State(), "the state after a late GoAway")
		p.writeClose(packet.Reason{}, "the answer to the Close frame")
		p.wantEnd("closed")
	})
}
