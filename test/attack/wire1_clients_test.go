package attack

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/oldpeer"
)

// A client of wire 1 asks for the ids that the library has chosen for clients of both wires. No
// client loses its connection.
func TestOldStrangerWishesForTheIDsOfOthers(t *testing.T) {
	const clients = 50
	for name, policy := range map[string]server.DuplicatePolicy{
		"replaces": server.DuplicateReplaces, "refused": server.DuplicateRefused, "allowed": server.DuplicateAllowed,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{options: func(o *server.EndOptions) { o.SetDuplicateID(policy) }}, func(t *testing.T, s *targetServer) {
				var ids []uint64
				var olds []*oldpeer.Peer
				for i := range clients {
					if i%2 == 0 {
						end := s.client()
						defer end.Close()
						ids = append(ids, end.ClientID())
						continue
					}
					nc, err := s.dial()
					require.NoError(t, err)
					old, err := oldpeer.Dial(nc, oldpeer.Config{})
					require.NoError(t, err)
					defer old.Cut()
					ids, olds = append(ids, old.ClientID()), append(olds, old)
				}
				for _, id := range ids {
					nc, err := s.dial()
					require.NoError(t, err)
					stranger, err := oldpeer.Dial(nc, oldpeer.Config{ClientID: id})
					require.NoError(t, err)
					require.NotEqual(t, id, stranger.ClientID())
					stranger.Cut()
				}
				synctest.Wait()
				for _, id := range ids {
					require.NoError(t, s.end(id).Cause())
				}
				for _, old := range olds {
					require.NoError(t, old.Err())
				}
				s.wantService("after the attack")
			})
		})
	}
}

// The memory of a client of wire 1 that completes the handshake with as much meta as allowed and
// then does nothing.
func TestIdleOldClientsCostLittle(t *testing.T) {
	const (
		clients = 100 / kit.Slowdown
		meta    = 48<<10 - 400
		// As in TestIdleClientsCostLittle, with the translator and its read buffer, two
		// goroutines and the client.
		perClient = meta + 64<<10
	)
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		var peers []net.Conn
		for range clients {
			nc, err := s.dial()
			require.NoError(t, err)
			defer nc.Close()
			go nc.Write(wire1.Append(nil, wire1.Packet{Type: wire1.TypeConn, ID: 1, Flags: 0x18, Meta: make([]byte, meta)}))
			ack, err := oldpeer.Read(nc)
			require.NoError(t, err)
			require.Empty(t, ack.Error)
			s.end(ack.Client)
			peers = append(peers, nc)
		}
		s.wantService("during the attack")
		before.wantAtMost(t, clients*perClient+connHeap, clients*oldGoroutines+4, "idle clients of wire 1 with 48 KiB of meta each")
		require.Len(t, peers, clients)
	})
}

// A peer of wire 1 answers with long texts of any bytes. The errors begin with them, and the
// connection goes on.
func TestOldTextsOfAnyLength(t *testing.T) {
	for name, text := range map[string]string{
		"long": strings.Repeat("x", 100_000), "no UTF-8": strings.Repeat("\xff", 10), "control characters": strings.Repeat("\x00<", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				peers := kit.Start(func() *oldpeer.Peer {
					p, err := oldpeer.Accept(far, oldpeer.Config{
						Handle:  func(context.Context, *oldpeer.Session, wire1.Packet) ([]byte, error) { return nil, textError(text) },
						Message: func(*oldpeer.Session, wire1.Packet) error { return textError(text) },
						Opened: func(s *oldpeer.Session) error {
							if s.Name == "" {
								return textError(text)
							}
							return nil
						},
					})
					assert.NoError(t, err)
					return p
				})
				end, err := client.NewEndWithConn(near)
				require.NoError(t, err)
				defer end.Close()
				p := <-peers
				defer p.Cut()
				_, callErr := end.Call(t.Context(), "any", end.NewRequest(nil))
				_, openErr := end.OpenStream()
				for what, err := range map[string]error{
					"Call": callErr, "Publish": end.Publish(t.Context(), end.NewMessage(nil)), "OpenStream": openErr,
				} {
					require.Error(t, err, what)
					want := strings.ToValidUTF8(text[:10], "\ufffd")
					if name == "no UTF-8" {
						want = strings.Repeat("\ufffd", 10)
					}
					assert.Contains(t, err.Error(), want, what)
					if what != "Call" { // the text of a response counts as its data does
						assert.LessOrEqual(t, len(err.Error()), 1100, what)
					}
				}
				opt := options.OpenStream()
				opt.SetPeer("another")
				opt.SetTimeout(time.Second)
				stream, err := end.OpenStream(opt)
				require.NoError(t, err)
				stream.Close()
				assert.NoError(t, geminio.Cause(end))
				assert.NoError(t, p.Err())
			})
		})
	}
}

// textError is an error with a text.
type textError string

// Error returns the text.
func (e textError) Error() string { return string(e) }
