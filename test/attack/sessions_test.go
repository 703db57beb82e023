package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/application"
	"github.com/singchia/geminio/packet"
)

// addressedConn is a connection from a host.
type addressedConn struct {
	net.Conn
	host string
}

// RemoteAddr implements net.Conn.
func (p addressedConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(p.host), Port: 1234}
}

// attackFrom is attack from a host, in a bubble.
func (s *targetServer) attackFrom(host string, wanted uint64, session string) *attacker {
	s.t.Helper()
	near, far := net.Pipe()
	require.NoError(s.t, s.pipes.Give(addressedConn{far, host}))
	own := offer()
	own.Session = []byte(session)
	return s.attackOver(near, own, packet.Conn{ClientID: wanted})
}

// delivery returns a message that is sent again until it is answered.
func delivery(b []byte, number uint64, data string) []byte {
	m := packet.Message{Cnss: 2}
	return frame(b, packet.TypeMessage, 0, 1, number|application.DeliveryBit, append(m.Append(nil), data...))
}

// The memory for deliveries depends on their number, and not on how far apart their
// numbers are.
func TestDeliveriesThatAreFarApart(t *testing.T) {
	const (
		peers = 90
		heap  = peers * 16 << 10 // of 2 deliveries each, where 384 KiB were kept
	)
	w := serverSetup{serve: func(end geminio.End) {
		go func() {
			for {
				m, err := end.Receive(context.Background())
				if err != nil {
					return
				}
				m.Done()
			}
		}()
	}}
	inBubble(t, w, func(t *testing.T, s *targetServer) {
		before := measure()
		for i := range peers {
			a := s.attackFrom("10.6.6.6", 0, fmt.Sprint("session ", i)).startReading()
			a.mustSend(delivery(delivery(nil, 1, ""), 4097, ""), "two deliveries")
			a.wait(packet.TypeAck, 2, "both are answered")
			a.leave()
			<-a.readDone
			a.wantEnd("it has left")
			s.dropEnd(a)
		}
		s.wantService("after them")
		before.wantLeft(t, heap+connHeap, 0, "sessions with two deliveries each")
	})
}

// A client that fills the memory for sessions loses its own sessions first, and none of
// another host.
func TestStrangersForgetTheirOwnSessions(t *testing.T) {
	const (
		peers = 90
		each  = 400 // deliveries, of more than 1000 bytes each
	)
	received := make(map[string]int) // of the honest one's messages
	w := serverSetup{serve: func(end geminio.End) {
		go func() {
			for {
				m, err := end.Receive(context.Background())
				if err != nil {
					return
				}
				if text := string(m.Data()); strings.HasPrefix(text, "honest") {
					received[text]++ // its connections come one after the other
					m.Done()
				} else {
					m.Error(errors.New(text)) // which is remembered
				}
			}
		}()
	}}
	inBubble(t, w, func(t *testing.T, s *targetServer) {
		honest := func(again bool) {
			a := s.attackFrom("10.0.0.1", 7, "of an honest client").startReading()
			a.mustSend(delivery(nil, 1, "honest"), fmt.Sprint("a message, again: ", again))
			a.wait(packet.TypeAck, 1, "it is answered")
			a.leave()
			a.wantEnd("it has left")
			synctest.Wait()
			s.dropEnd(a)
		}
		honest(false)
		text := strings.Repeat("x", packet.MaxAnswer)
		for i := range peers {
			a := s.attackFrom("10.6.6.6", 0, fmt.Sprint("session ", i)).startReading()
			for n := range each {
				a.mustSend(delivery(nil, uint64(n+1), text), "a delivery")
				a.wait(packet.TypeAck, n+1, "it is answered")
			}
			a.leave()
			a.wantEnd("it has left")
			s.dropEnd(a)
		}
		honest(true)
		require.Equal(t, map[string]int{"honest": 1}, received)
	})
}
