package application

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// A handler finds its End and stream, also by a derived context, and after it has returned.
func TestHandlersKnowTheirEndAndStream(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		near, far := openPair(t, client, server)
		type key struct{}
		var ctx context.Context
		check := func(want geminio.Stream) geminio.HijackRPC {
			return func(c context.Context, _ string, _ geminio.Request, _ geminio.Response) {
				ctx = context.WithoutCancel(context.WithValue(c, key{}, 1))
				s, ok := geminio.StreamFrom(ctx)
				assert.True(t, ok)
				assert.True(t, s == want)
			}
		}
		for _, c := range []struct {
			from geminio.Stream
			to   geminio.Stream
		}{{client, server}, {server, client}, {near, far}, {far, near}} {
			require.NoError(t, c.to.Hijack(check(c.to)))
			_, err := c.from.Call(t.Context(), "m", c.from.NewRequest(nil))
			require.NoError(t, err)
			end, ok := geminio.EndFrom(ctx)
			require.True(t, ok)
			want, ok := geminio.EndOf(c.to)
			require.True(t, ok)
			assert.True(t, end == want)
			assert.Nil(t, ctx.Value("another key"))
		}
	})
}

func TestContextsWithoutAnEnd(t *testing.T) {
	_, ok := geminio.EndFrom(t.Context())
	assert.False(t, ok)
	_, ok = geminio.StreamFrom(t.Context())
	assert.False(t, ok)
}

// A handler that asks for its End and stream before they end keeps them. One that asks later
// gets them if they still exist.
func TestHandlersKnowTheirEndAfterItHasEnded(t *testing.T) {
	for name, early := range map[string]bool{"asked before the end": true, "asked after the end": false} {
		t.Run(name, func(t *testing.T) {
			withPair(t, nil, nil, func(t *testing.T, client, server *End) {
				near, far := openPair(t, client, server)
				var contexts []context.Context
				hang := make(chan struct{})
				for _, s := range []*Stream{server.Stream, far} {
					require.NoError(t, s.Hijack(func(ctx context.Context, _ string, _ geminio.Request, _ geminio.Response) {
						contexts = append(contexts, ctx)
						if early {
							geminio.StreamFrom(ctx)
						}
						<-hang
					}))
				}
				for _, s := range []*Stream{client.Stream, near} {
					_, err := s.CallAsync(t.Context(), "m", s.NewRequest(nil), nil)
					require.NoError(t, err)
					synctest.Wait()
				}
				near.Close()
				synctest.Wait()
				client.Close()
				synctest.Wait()
				runtime.GC()
				for i, want := range []geminio.Stream{server, far} {
					end, ok := geminio.EndFrom(contexts[i])
					assert.True(t, ok)
					assert.True(t, end == server)
					s, ok := geminio.StreamFrom(contexts[i])
					assert.True(t, ok)
					assert.True(t, s == want)
				}
				close(hang)
			})
		})
	}
}

// A handler whose stream and End are no longer in memory gets neither.
func TestHandlersOfAnEndThatIsNoLongerInMemory(t *testing.T) {
	v := &serving{}
	v.ctx.v = v
	_, ok := geminio.EndFrom(&v.ctx)
	assert.False(t, ok)
	_, ok = geminio.StreamFrom(&v.ctx)
	assert.False(t, ok)
	v.e = &End{}
	v.e.user = v.e
	end, ok := geminio.EndFrom(&v.ctx)
	assert.True(t, ok, "the stream has ended, and the End has not")
	assert.True(t, end == v.e)
}

func TestMessagesKnowTheirStream(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		near, far := openPair(t, client, server)
		for _, c := range []struct{ from, to geminio.Stream }{{client, server}, {far, near}} {
			sent := c.from.NewMessage(nil)
			_, err := c.from.PublishAsync(t.Context(), sent, nil)
			require.NoError(t, err)
			_, ok := geminio.StreamOf(sent)
			assert.False(t, ok, "at the publisher")
			m, err := c.to.Receive(t.Context())
			require.NoError(t, err)
			s, ok := geminio.StreamOf(m)
			assert.True(t, ok)
			assert.True(t, s == c.to)
			require.NoError(t, m.Done())
		}
	})
}
