package conn

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

func TestPingAtEveryHeartbeat(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		start := time.Now()
		for i := range 20 {
			v := p.wantPing(packet.TypePing, "a heartbeat")
			require.Equal(t, time.Duration(i+1)*20*time.Second, time.Since(start))
			p.writePong(v, "the pong")
		}
		assert.Equal(t, Open, c.State())
	})
}

func TestPingIsAnswered(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		for _, v := range []uint64{0, 1, 1<<64 - 1, 0x0102030405060708} {
			p.writePing(v, "a ping")
			assert.Equal(t, v, p.wantPing(packet.TypePong, "the pong"))
		}
		synctest.Wait()
		assert.Equal(t, 4, u.seen().pings, "calls of OnPing")
	})
}

// A peer that answers no ping stays connected while a byte arrives in each interval.
func TestAnyByteIsLife(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		p.drain() // without answering pings
		b := dataFrame(make([]byte, 20)...)
		for i := range b {
			time.Sleep(40*time.Second - 1)
			p.write(b[i:i+1], "a byte")
		}
		synctest.Wait()
		assert.Equal(t, Open, c.State())
		assert.Len(t, u.seen().got, 1)
	})
}

func TestDeadTwoHeartbeatsAfterTheLastByte(t *testing.T) {
	for _, test := range []struct {
		name string
		last time.Duration // the time of the last byte; 0: no byte
		read bool
	}{
		{"none ever came", 0, true},
		{"none ever came, and nothing is read", 0, false},
		{"after a while", 7 * time.Second, true},
		{"after a while, and nothing is read", 7 * time.Second, false},
		{"after a long while", 59 * time.Second, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
				if test.read {
					p.drain()
				}
				start := time.Now()
				for at := 30 * time.Second; at < test.last; at += 30 * time.Second {
					time.Sleep(at - time.Since(start))
					p.write([]byte{0x80}, "a byte")
				}
				if test.last > 0 {
					time.Sleep(test.last - time.Since(start))
					p.write([]byte{0x80}, "the last byte")
				}
				u.give(dataFrame(1))
				<-c.Done()
				assert.Equal(t, test.last+40*time.Second, time.Since(start))
				<-u.over
				assert.ErrorIs(t, c.Cause(), geminio.ErrSilent)
				s := u.seen()
				assert.Equal(t, 1, s.ends)
				assert.False(t, s.deliver, "deliver in the call of End")
				assert.ErrorIs(t, s.readErr, geminio.ErrSilent)
			})
		})
	}
}

// A link on which both sides answer stays up, however different their heartbeat intervals are.
func TestDifferentSettingsKillNoGoodLink(t *testing.T) {
	for _, beats := range [][2]time.Duration{
		{time.Second, time.Minute}, {time.Minute, time.Second},
		{10 * time.Millisecond, time.Hour}, {5 * time.Second, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			server, client := testConfig(), testConfig()
			server.Heartbeat, client.Heartbeat = beats[0], beats[1]
			chs := []<-chan result{shake(geminio.RecipientSide, near, server), shake(geminio.InitiatorSide, far, client)}
			var conns []*Conn
			var uppers []*fakeHandler
			for _, ch := range chs {
				r := <-ch
				require.NoError(t, r.err)
				u := &fakeHandler{c: r.c, over: make(chan struct{})}
				r.c.Start(u)
				go u.run()
				conns, uppers = append(conns, r.c), append(uppers, u)
			}
			const span = 3 * time.Minute
			time.Sleep(span + time.Millisecond)
			for i, c := range conns {
				assert.Equal(t, Open, c.State(), "%v: %v", beats, c.Cause())
				got := uppers[i].seen().pings
				assert.Equal(t, int(span/beats[1-i]), got, "pings of the peer")
			}
			conns[0].Close(errMine, packet.Reason{})
			for i, c := range conns {
				<-c.Done()
				<-uppers[i].over
			}
		})
	}
}

func TestPingFlood(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		for range 5 { // the most pings of a second
			for range maxPings {
				p.writePing(1, "a ping")
				p.wantPing(packet.TypePong, "an answer")
			}
			time.Sleep(time.Second)
		}
		for range maxPings {
			p.writePing(1, "a ping")
			p.wantPing(packet.TypePong, "an answer")
		}
		p.writePing(1, "a ping above the limit")
		n := p.wantReason(packet.TypeClose, geminio.CodeProtocol, "the Close frame with the reason")
		assert.Contains(t, n.Text, "ping: more than 1000 in a second")
	})
}

// A peer sends pings without end and does not read. The pongs do not pile up.
func TestPingFloodOfAPeerThatDoesNotRead(t *testing.T) {
	const every = time.Millisecond / 2
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		start := time.Now()
		for c.State() < Closing {
			p.writePing(1, "a ping")
			time.Sleep(every)
		}
		assert.Equal(t, maxPings+1, int(time.Since(start)/every), "pings until the connection ended")
		<-c.Done()
		assert.ErrorIs(t, c.Cause(), geminio.ErrProtocol)
		assert.Equal(t, maxPings*every+5*time.Second, time.Since(start), "the time until the connection ended")
	})
}

func TestRoundTrip(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		answer := func(after time.Duration) {
			c.Probe()
			v := p.wantPing(packet.TypePing, "a probe")
			time.Sleep(after)
			p.writePong(v, "the pong")
			synctest.Wait()
		}
		assert.Zero(t, c.RTT(), "RTT before the first pong")
		answer(30 * time.Millisecond)
		assert.Equal(t, 30*time.Millisecond, c.RTT())
		answer(50 * time.Millisecond)
		assert.Equal(t, 50*time.Millisecond, c.RTT(), "RTT, the last round trip")
		answer(20 * time.Millisecond)
		assert.Equal(t, 20*time.Millisecond, c.RTT())
		for _, v := range []uint64{1 << 63, 1<<64 - 1, uint64(c.Now() + time.Hour)} {
			p.writePong(v, "a second pong for the same ping")
		}
		synctest.Wait()
		assert.Equal(t, 20*time.Millisecond, c.RTT())
		answer(0)
		assert.Equal(t, time.Duration(1), c.RTT(), "RTT of an immediate pong, which must not be 0")
	})
}
