package attack

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// An attacker knows the ids that the library has chosen for all clients, and asks for these
// ids. No client loses its connection.
func TestStrangerWishesForTheIDsOfOthers(t *testing.T) {
	const clients = 200
	for name, policy := range map[string]server.DuplicatePolicy{
		"replaces": server.DuplicateReplaces, "refused": server.DuplicateRefused, "allowed": server.DuplicateAllowed,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{options: func(o *server.EndOptions) { o.SetDuplicateID(policy) }}, func(t *testing.T, s *targetServer) {
				var ends []geminio.End
				for i := range clients {
					newEnd := client.NewEndWithDialer
					if i%2 == 1 {
						newEnd = client.NewRetryEndWithDialer
					}
					end, err := newEnd(s.dial)
					require.NoError(t, err)
					defer end.Close()
					s.end(end.ClientID())
					ends = append(ends, end)
				}
				for i, end := range ends {
					own := offer()
					if i%4 < 2 {
						own.Session = fmt.Append(nil, "session ", i)
					}
					nc, err := s.dial()
					require.NoError(t, err)
					a := s.attackOver(nc, own, packet.Conn{ClientID: end.ClientID()})
					require.NotEqual(t, end.ClientID(), a.end.ClientID())
					a.leave()
				}
				synctest.Wait()
				for _, end := range ends {
					resp, err := end.Call(context.Background(), "echo", end.NewRequest([]byte("here")))
					require.NoError(t, err)
					require.Equal(t, "here", string(resp.Data()))
					if r, retries := end.(*client.RetryEnd); retries {
						require.EqualValues(t, 1, r.Stats().Connections)
					}
				}
				s.wantService("after the attack")
			})
		})
	}
}

// Clients ask for many ids. The library still finds an id for each later client.
func TestSquattersKeepNobodyOut(t *testing.T) {
	const (
		squatters = 1000 / kit.Slowdown
		newcomers = 100
	)
	inBubble(t, serverSetup{options: func(o *server.EndOptions) { o.SetDuplicateID(server.DuplicateRefused) }}, func(t *testing.T, s *targetServer) {
		last := s.client()
		defer last.Close()
		for i := range squatters {
			nc, err := s.dial()
			require.NoError(t, err)
			defer nc.Close()
			own := offer()
			go nc.Write(hello(t, packet.Conn{PacketID: 1, ClientID: last.ClientID() + 1 + uint64(i), Settings: &own}))
			_, err = readAck(nc)
			require.NoError(t, err)
		}
		for range newcomers {
			nc, err := s.dial()
			require.NoError(t, err)
			end, err := client.NewEndWithConn(nc)
			require.NoError(t, err)
			defer end.Close()
		}
		s.wantService("during the attack")
	})
}

// An id that a client has chosen itself needs no proof. The policy for duplicates decides.
func TestIDsThatClientsHaveChosen(t *testing.T) {
	inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		opt := client.NewEndOptions()
		opt.SetClientID(77)
		end, err := client.NewEndWithDialer(s.dial, opt)
		require.NoError(t, err)
		defer end.Close()
		nc, err := s.dial()
		require.NoError(t, err)
		a := s.attackOver(nc, offer(), packet.Conn{ClientID: 77})
		defer a.leave()
		_, err = end.AcceptStream()
		require.Error(t, err)
		require.ErrorIs(t, geminio.Cause(end), geminio.ErrReplaced)
	})
}
