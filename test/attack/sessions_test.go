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

// addressedConn is a connection with the remote address of a host.
type addressedConn struct {
	net.Conn
	host string
}

// RemoteAddr implements net.Conn.
func (p addressedConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(p.host), Port: 1234}
}

// attackFrom is attack from the address of a host, in a bubble.
func (s *targetServer) attackFrom(host string, wanted uint64, session string) *attacker {
	s.t.Helper()
	near, far := net.Pipe()
	require.NoError(s.t, s.pipes.Give(addressedConn{far, host}))
	own := offer()
	own.Session = []byte(session)
	return s.attackOver(near, own, packet.Conn{ClientID: wanted})
}

// delivery appends a message to b that its sender repeats until it is acknowledged.
func delivery(b []byte, number uint64, data string) []byte {
	m := packet.Message{Cnss: 2}
	return frame(b, packet.TypeMessage, 0, 1, number|application.DeliveryBit, append(m.Append(nil), data...))
}

// The memory for the deliveries of a session depends on how many they are, and not on their
// numbers.
func TestDeliveriesThatAreFarApart(t *testing.T) {
	const (
		peers = 90
		heap  = peers * 16 << 10 // bytes for 2 deliveries each; a bitmap would have 384 KiB
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
			a.wait(packet.TypeAck, 2, "an ack of each message")
			a.leave()
			<-a.readDone
			a.wantEnd("the attacker closed the connection")
			s.dropEnd(a)
		}
		s.wantService("after the attack")
		before.wantLeft(t, heap+connHeap, 0, "after the sessions with two deliveries each")
	})
}

// A client fills the memory for sessions. The server discards sessions of its host, and none
// of another host.
func TestStrangersForgetTheirOwnSessions(t *testing.T) {
	const (
		peers = 90
		each  = 400 // deliveries, of more than 1000 bytes each
	)
	received := make(map[string]int) // the number of times that each message was received
	w := serverSetup{serve: func(end geminio.End) {
		go func() {
			for {
				m, err := end.Receive(context.Background())
				if err != nil {
					return
				}
				if text := string(m.Data()); strings.HasPrefix(text, "honest") {
					received[text]++ // the connections follow each other
					m.Done()
				} else {
					m.Error(errors.New(text)) // the session keeps the text
				}
			}
		}()
	}}
	inBubble(t, w, func(t *testing.T, s *targetServer) {
		honest := func(again bool) {
			a := s.attackFrom("10.0.0.1", 7, "of an honest client").startReading()
			a.mustSend(delivery(nil, 1, "honest"), fmt.Sprint("a message, again: ", again))
			a.wait(packet.TypeAck, 1, "the ack")
			a.leave()
			a.wantEnd("the attacker closed the connection")
			synctest.Wait()
			s.dropEnd(a)
		}
		honest(false)
		text := strings.Repeat("x", packet.MaxAnswer)
		for i := range peers {
			a := s.attackFrom("10.6.6.6", 0, fmt.Sprint("session ", i)).startReading()
			for n := range each {
				a.mustSend(delivery(nil, uint64(n+1), text), "a delivery")
				a.wait(packet.TypeAck, n+1, "the ack")
			}
			a.leave()
			a.wantEnd("the attacker closed the connection")
			s.dropEnd(a)
		}
		honest(true)
		require.Equal(t, map[string]int{"honest": 1}, received)
	})
}
