package server_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/server"
)

// registrations records the methods that the peer has registered.
type registrations struct {
	delegate.UnimplementedDelegate
	mu   sync.Mutex
	seen []string
}

func (r *registrations) RemoteRegistration(method string, _, _ uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, method)
}

// The handshake registers the methods of both sides; those that do not fit into it are registered by
// frames.
func TestMethodsOfTheHandshake(t *testing.T) {
	for _, test := range []struct {
		name             string
		clients, servers []string
		frames           uint64 // frames of the server
	}{
		{"none", nil, nil, 0},
		{"of the server", nil, []string{"a", "b"}, 0},
		{"of both", []string{"c"}, []string{"a", "b"}, 0},
		{"one does not fit", nil, []string{"a", "\xff", "b"}, 1},
		{"one of the client does not fit", []string{"a", "\xff"}, nil, 1}, // its answer
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var atClient, atServer registrations
				copt, sopt := client.NewEndOptions(), server.NewEndOptions()
				copt.SetDelegate(&atClient)
				sopt.SetDelegate(&atServer)
				copt.SetRegisterLocalRPCs(methodsOf(test.clients)...)
				sopt.SetRegisterLocalRPCs(methodsOf(test.servers)...)
				near, far := net.Pipe()
				made := make(chan geminio.End, 1)
				go func() {
					s, err := server.NewEndWithConn(far, sopt)
					assert.NoError(t, err)
					made <- s
				}()
				c, err := client.NewEndWithConn(near, copt)
				require.NoError(t, err)
				s := <-made
				synctest.Wait()
				assert.ElementsMatch(t, test.servers, atClient.seen)
				assert.ElementsMatch(t, test.clients, atServer.seen)
				sent, ok := geminio.SnapshotOf(s)
				require.True(t, ok)
				assert.Equal(t, test.frames, sent.Sent.Frames)
				for _, name := range test.servers {
					_, err := c.Call(t.Context(), name, c.NewRequest(nil))
					assert.NoError(t, err)
				}
				for _, name := range test.clients {
					_, err := s.Call(t.Context(), name, s.NewRequest(nil))
					assert.NoError(t, err)
				}
				require.NoError(t, c.Close())
				require.NoError(t, s.Close())
			})
		})
	}
}

// methodsOf returns methods that answer nothing.
func methodsOf(names []string) (methods []*geminio.MethodRPC) {
	for _, name := range names {
		methods = append(methods, &geminio.MethodRPC{Method: name, RPC: func(context.Context, geminio.Request, geminio.Response) {}})
	}
	return methods
}
