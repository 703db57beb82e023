package conn

import (
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/packet"
)

// translating returns a configuration that serves peers of wire 1 and sends them to peers.
func translating(peers chan<- Wire1Peer) *Config {
	cfg := testConfig()
	cfg.Wire1Offer = wire1.Offer
	cfg.Translate = func(_ *Config, nc net.Conn, peer Wire1Peer) net.Conn {
		if peers != nil {
			peers <- peer
		}
		return wire1.NewTransport(nc, wire1.Config{
			Side: peer.Side, Offer: cfg.Settings, Budget: 8 << 20, Period: wire1.Period(peer.HeartbeatExponent << 4), Silence: time.Minute, Linger: cfg.Linger,
		}, cfg.Clock)
	}
	return cfg
}

func TestPeersOfWire1(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			peers := make(chan Wire1Peer, 1)
			ch := shake(geminio.RecipientSide, near, translating(peers))
			p := &peer{t, far}
			p.write(helloBytes(t, packet.Conn{PacketID: 7, HeartbeatExponent: 2, Meta: []byte("m")}), "a hello of wire 1")
			var ack [wire1.HeaderLen + 9 + 2]byte
			_, err := io.ReadFull(far, ack[:])
			require.NoError(t, err)
			assert.Equal(t, wire1.Append(nil, wire1.Packet{Type: wire1.TypeConnAck, ID: 7, Client: 42}), ack[:], "the ConnAck, which has no settings")
			r := <-ch
			require.NoError(t, r.err)
			assert.Equal(t, Wire1Peer{Side: geminio.RecipientSide, PacketID: 7, HeartbeatExponent: 2}, <-peers)
			assert.Equal(t, "m", string(r.c.Meta()))
			assert.Equal(t, wire1.Offer(), *r.c.Peer())
			assert.Nil(t, r.c.Session())
			assert.Equal(t, near.RemoteAddr(), r.c.RemoteAddr())
			r.c.Start(&fakeHandler{c: r.c, over: make(chan struct{})})
			go r.c.Run()
			p.write(wire1.Append(nil, wire1.Packet{Type: wire1.TypeHeartbeat, ID: 9}), "a heartbeat")
			var beat [wire1.HeaderLen]byte
			_, err = io.ReadFull(far, beat[:])
			require.NoError(t, err)
			assert.Equal(t, wire1.Append(nil, wire1.Packet{Type: wire1.TypeHeartbeatAck, ID: 9}), beat[:])
			far.Close()
			<-r.c.Done()
			assert.ErrorIs(t, r.c.Cause(), io.ErrUnexpectedEOF)
		})
	})
	t.Run("server", func(t *testing.T) {
		peers := make(chan Wire1Peer, 1)
		change := func(cfg *Config) {
			cfg.Translate, cfg.Wire1Offer, cfg.Heartbeat = translating(peers).Translate, wire1.Offer, 90*time.Second
		}
		withAck(t, packet.ConnAck{ClientID: 7}, change, func(t *testing.T, r result) {
			require.NoError(t, r.err)
			assert.Equal(t, Wire1Peer{Side: geminio.InitiatorSide, HeartbeatExponent: 2}, <-peers)
			assert.EqualValues(t, 7, r.c.ClientID())
			r.c.Start(&fakeHandler{c: r.c, over: make(chan struct{})})
			r.c.abort(io.EOF)
			<-r.c.Done()
		})
	})
	t.Run("a server that gives no id", func(t *testing.T) {
		change := func(cfg *Config) { cfg.Translate = translating(nil).Translate }
		withAck(t, packet.ConnAck{}, change, func(t *testing.T, r result) {
			assert.ErrorContains(t, r.err, "client id of 0")
		})
	})
	t.Run("peers of wire 2 have no translator", func(t *testing.T) {
		cfg := testConfig()
		cfg.Translate = func(*Config, net.Conn, Wire1Peer) net.Conn { panic("not needed") }
		onPipe(t, cfg, func(c *Conn, _ *fakeHandler, p *peer) { assert.Nil(t, c.wire1) })
	})
}

// A faulty transport under a translator costs its connection, and has no other effect.
func TestOddTransportsOfPeersOfWire1(t *testing.T) {
	wake := func(p *peer) {
		p.write(wire1.Append(nil, wire1.Packet{Type: wire1.TypeHeartbeat, ID: 9}), "ends the Read that waits already")
	}
	for name, change := range map[string]func(o *oddities){
		"Read panics":              func(o *oddities) { o.read = func([]byte) (int, error) { panic("boom") } },
		"Read ends its goroutine":  func(o *oddities) { o.read = func([]byte) (int, error) { runtime.Goexit(); return 0, nil } },
		"Read is impossible":       func(o *oddities) { o.read = func([]byte) (int, error) { return -1, nil } },
		"Read reads nothing":       func(o *oddities) { o.read = func([]byte) (int, error) { return 0, nil } },
		"the error of Read":        func(o *oddities) { o.read = func([]byte) (int, error) { return 0, (*nilPanicsError)(nil) } },
		"Write panics":             func(o *oddities) { o.write = func([]byte) (int, error) { panic("boom") } },
		"Write ends its goroutine": func(o *oddities) { o.write = func([]byte) (int, error) { runtime.Goexit(); return 0, nil } },
		"Write is short":           func(o *oddities) { o.write = func([]byte) (int, error) { return 1, nil } },
		"the error of Write":       func(o *oddities) { o.write = func([]byte) (int, error) { return 0, (*nilPanicsError)(nil) } },
	} {
		t.Run(name, func(t *testing.T) {
			onOldOddConn(t, func(c *Conn, o oddConn, p *peer) {
				o.set(change)
				wake(p)
				<-c.Done()
				assert.Error(t, c.Cause())
				assert.EqualValues(t, 1, o.closes.Load(), "calls of Close of the transport")
			})
		})
	}
	t.Run("Close does not return", func(t *testing.T) {
		onOldOddConn(t, func(c *Conn, o oddConn, _ *peer) {
			release := make(chan struct{})
			o.set(func(o *oddities) { o.close = func() error { <-release; return nil } })
			start := time.Now()
			c.abort(io.EOF)
			<-c.Done()
			assert.Equal(t, closeGrace, time.Since(start))
			_, err := o.Conn.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.ErrClosedPipe, "Write to the transport below, which is closed")
			close(release)
		})
	})
	t.Run("there are no deadlines", func(t *testing.T) {
		g := guarded{}
		assert.Equal(t, os.ErrNoDeadline, g.SetDeadline(time.Time{}))
		assert.Equal(t, os.ErrNoDeadline, g.SetReadDeadline(time.Time{}))
		assert.Equal(t, os.ErrNoDeadline, g.SetWriteDeadline(time.Time{}))
	})
}

// onOldOddConn is onOddConn with a client of wire 1.
func onOldOddConn(t *testing.T, test func(c *Conn, o oddConn, p *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o, p := newOddConn(near), &peer{t, far}
		ch := shake(geminio.RecipientSide, o, translating(nil))
		p.write(helloBytes(t, packet.Conn{PacketID: 7}), "a hello of wire 1")
		_, err := io.ReadFull(far, make([]byte, wire1.HeaderLen+9+2))
		require.NoError(t, err)
		r := <-ch
		require.NoError(t, r.err)
		r.c.Start(&fakeHandler{c: r.c, over: make(chan struct{})})
		go r.c.Run()
		synctest.Wait() // until Read blocks
		go io.Copy(io.Discard, far)
		test(r.c, o, p)
		far.Close()
		near.Close()
		<-r.c.Done()
		synctest.Wait()
	})
}
