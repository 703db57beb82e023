package application

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

func TestMetadataOfCalls(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		for _, size := range []int{0, 100_000} {
			register(t, server, "m", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
				ctx = context.WithValue(ctx, "a key of middleware", 1) //lint:ignore SA1029 a test
				md, ok := metadata.FromIncomingContext(ctx)
				assert.True(t, ok)
				assert.Equal(t, metadata.MD{"k": {"v", "\x00\xff"}, "empty": {""}}, md)
				assert.Equal(t, []string{"v", "\x00\xff"}, metadata.ValueFromIncomingContext(ctx, "K"))
				assert.Nil(t, metadata.ValueFromIncomingContext(ctx, "other"))
				_, ok = metadata.FromOutgoingContext(ctx)
				assert.False(t, ok, "metadata is not passed on by itself")
				metadata.SetOutgoing(ctx, metadata.Pairs("a", "1", "b", "2"))
				metadata.SetOutgoing(ctx, metadata.Pairs("b", "3", "b", "4", "c", "5"))
				md.Set("k", "changed")
				resp.SetData(req.Data())
				resp.SetCustom(req.Custom())
				if len(req.Data()) == 0 {
					resp.SetError(errors.New("no data"))
				}
			})
			ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("k", "v", "empty", ""))
			ctx = metadata.AppendToOutgoingContext(ctx, "K", "\x00\xff")
			opt := options.NewRequest()
			opt.SetCustom([]byte("custom"))
			check := func(resp geminio.Response, err error) {
				assert.Equal(t, size == 0, err != nil, "%v", err)
				require.NotNil(t, resp)
				assert.Equal(t, metadata.MD{"a": {"1"}, "b": {"3", "4"}, "c": {"5"}}, metadata.From(resp))
				assert.Equal(t, "custom", string(resp.Custom()))
				assert.Len(t, resp.Data(), size)
			}
			check(client.Call(ctx, "m", client.NewRequest(make([]byte, size), opt)))
			c, err := client.CallAsync(ctx, "m", client.NewRequest(make([]byte, size), opt), nil)
			require.NoError(t, err)
			<-c.Done
			check(c.Response, c.Error)
		}
	})
}

func TestNoMetadata(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		register(t, server, "m", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			_, ok := metadata.FromIncomingContext(ctx)
			assert.False(t, ok)
			metadata.SetOutgoing(ctx, nil)
		})
		resp, err := client.Call(metadata.NewOutgoingContext(t.Context(), nil), "m", client.NewRequest(nil))
		require.NoError(t, err)
		assert.Nil(t, metadata.From(resp))
		assert.Nil(t, metadata.From(client))
		assert.Nil(t, metadata.From(nil))
		metadata.SetOutgoing(t.Context(), metadata.Pairs("k", "v")) // no handler's context: no effect
	})
}

func TestMetadataOfMessages(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "k", "v")
		for _, cnss := range []options.Cnss{options.CnssAtMostOnce, options.CnssAtLeastOnce} {
			for _, size := range []int{0, 10, 100_000} {
				opt := options.NewMessage()
				opt.SetCnss(cnss)
				opt.SetTopic("topic")
				p, err := client.PublishAsync(ctx, client.NewMessage(make([]byte, size), opt), nil)
				require.NoError(t, err)
				m, err := server.Receive(t.Context())
				require.NoError(t, err)
				assert.Equal(t, metadata.MD{"k": {"v"}}, metadata.From(m))
				assert.Equal(t, "topic", m.Topic())
				assert.Len(t, m.Data(), size)
				m.Done()
				assert.NoError(t, (<-p.Done).Error)
			}
		}
	})
}

// Operations with metadata that breaks a rule fail before they send anything.
func TestMetadataThatIsRefused(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		register(t, server, "m", func(context.Context, geminio.Request, geminio.Response) { t.Error("the handler runs") })
		many := metadata.MD{"k": make([]string, 1025)}
		for _, c := range []struct {
			name string
			md   metadata.MD
			want string
			is   error
		}{
			{"oversized", metadata.Pairs("small", "v", "k", strings.Repeat("v", 65535)), `metadata, most of it in key "k": too large: 65548 exceeds 65536`, geminio.ErrTooLarge},
			{"long value", metadata.Pairs("k", strings.Repeat("v", 65536)), `metadata: value of key "k": too large: 65536 exceeds 65535`, geminio.ErrTooLarge},
			{"too many", many, "pairs of metadata: too many: 1025 exceeds 1024", geminio.ErrTooMany},
			{"upper case", metadata.MD{"Key": {"v"}}, `metadata: key "Key": the key has the upper-case letter 'K'`, nil},
			{"empty key", metadata.MD{"": {"v"}}, `metadata: key "": the key is empty`, nil},
			{"NUL", metadata.MD{"k\x00": {"v"}}, `metadata: key "k\x00": the key has the character '\x00'`, nil},
			{"long key", metadata.MD{strings.Repeat("k", 256): {"v"}}, "the key has 256 bytes, at most 255 are allowed", nil},
		} {
			ctx := metadata.NewOutgoingContext(t.Context(), c.md)
			check := func(err error) {
				t.Helper()
				require.ErrorContains(t, err, c.want, c.name)
				var limit *geminio.LimitError
				if c.is != nil {
					require.ErrorIs(t, err, c.is, c.name)
					require.ErrorAs(t, err, &limit, c.name)
				} else {
					var bad *metadata.Error
					require.ErrorAs(t, err, &bad, c.name)
				}
			}
			_, err := client.Call(ctx, "m", client.NewRequest(nil))
			check(err)
			_, err = client.CallAsync(ctx, "m", client.NewRequest(nil), nil)
			check(err)
			check(client.Publish(ctx, client.NewMessage(nil)))
			_, err = client.PublishAsync(ctx, client.NewMessage(nil), nil)
			check(err)

			register(t, client, "answer", func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
				metadata.SetOutgoing(ctx, c.md)
				resp.SetData([]byte("data"))
			})
			resp, err := server.Call(t.Context(), "answer", server.NewRequest(nil))
			var remote *geminio.RemoteError
			require.ErrorAs(t, err, &remote, c.name)
			require.ErrorContains(t, err, c.want, c.name)
			assert.Empty(t, resp.Data(), c.name)
			if c.is != nil {
				assert.ErrorIs(t, err, c.is, c.name)
			}
		}
		synctest.Wait()
		assert.Nil(t, client.Cause(), "the connection lives on")
	})
}

// The largest metadata and a value of the largest size arrive.
func TestLargestMetadata(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		md := metadata.Pairs("k", strings.Repeat("v", 65536-4-5), "l", "1")
		require.Equal(t, 65536, md.Size())
		register(t, server, "m", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			got, _ := metadata.FromIncomingContext(ctx)
			assert.Equal(t, md, got)
			metadata.SetOutgoing(ctx, got)
		})
		resp, err := client.Call(metadata.NewOutgoingContext(t.Context(), md), "m", client.NewRequest(nil))
		require.NoError(t, err)
		assert.Equal(t, md, metadata.From(resp))
	})
}

// A peer whose offer has no limit for metadata gets none.
func TestMetadataForAPeerWithoutMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		without := connConfig()
		without.Settings.MaxMetadata = 0
		shaken := make(chan *conn.Conn)
		go func() {
			c, err := conn.Client(near, without)
			assert.NoError(t, err)
			shaken <- c
		}()
		s, err := conn.Server(far, connConfig())
		require.NoError(t, err)
		client, server := Start(<-shaken, endConfig()), Start(s, endConfig())
		defer server.Close()
		register(t, client, "m", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			_, ok := metadata.FromIncomingContext(ctx)
			assert.False(t, ok)
		})
		ctx := metadata.AppendToOutgoingContext(t.Context(), "k", strings.Repeat("v", 65535))
		_, err = server.Call(ctx, "m", server.NewRequest(nil))
		assert.NoError(t, err)
		_, err = server.Call(metadata.AppendToOutgoingContext(ctx, "no space", ""), "m", server.NewRequest(nil))
		assert.Error(t, err, "metadata that is not valid")
	})
}

// Metadata of the peer that breaks a rule costs its operation.
func TestMalformedMetadataOfThePeer(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		served := 0
		register(t, server, "m", func(context.Context, geminio.Request, geminio.Response) { served++ })
		bad := pairs.List{}.Append("Key", "v")
		ctx := context.WithValue(t.Context(), pairs.OutgoingKey{}, &pairs.Outgoing{List: bad})
		const want = `key "Key": the key has the upper-case letter`

		_, err := client.Call(ctx, "m", client.NewRequest([]byte("x")))
		assert.ErrorIs(t, err, geminio.ErrProtocol)
		assert.ErrorContains(t, err, want)
		assert.Zero(t, served)

		err = client.Publish(ctx, client.NewMessage([]byte("x")))
		assert.ErrorIs(t, err, geminio.ErrProtocol)
		assert.ErrorContains(t, err, want)
		once := options.NewMessage()
		once.SetCnss(options.CnssAtMostOnce)
		require.NoError(t, client.Publish(ctx, client.NewMessage([]byte("dropped"), once)))

		register(t, server, "answers", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			ctx.Value(pairs.AnswerKey{}).(*pairs.Answer).Set(map[string][]string{"Key": {"v"}}, nil)
		})
		_, err = client.Call(t.Context(), "answers", client.NewRequest(nil))
		assert.ErrorIs(t, err, geminio.ErrProtocol)
		assert.ErrorContains(t, err, want)

		publication, err := client.PublishAsync(t.Context(), client.NewMessage([]byte("good")), nil)
		require.NoError(t, err)
		m, err := server.Receive(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "good", string(m.Data()), "the other messages were dropped")
		require.NoError(t, m.Done())
		assert.NoError(t, (<-publication.Done).Error)
		_, err = client.Call(t.Context(), "m", client.NewRequest(nil))
		assert.NoError(t, err)
		assert.Equal(t, 1, served)
	})
}

// Metadata whose pairs are not complete ends the connection.
func TestUnframedMetadataOfThePeer(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		ctx := context.WithValue(t.Context(), pairs.OutgoingKey{}, &pairs.Outgoing{List: pairs.List{1, 0, 1, 'k'}})
		_, err := client.Call(ctx, "m", client.NewRequest(nil))
		assert.ErrorIs(t, err, geminio.ErrProtocol)
		var wire *packet.Error
		synctest.Wait()
		assert.ErrorAs(t, server.Cause(), &wire)
	})
}

func TestMetadataOfStreams(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		for _, opener := range []*End{client, server} {
			acceptor := server
			if opener == server {
				acceptor = client
			}
			opt := options.OpenStream()
			opt.SetPeer("peer")
			opt.SetMeta([]byte("meta"))
			ctx := metadata.AppendToOutgoingContext(t.Context(), "k", "v")
			near, err := opener.OpenStreamContext(ctx, opt)
			require.NoError(t, err)
			far, err := acceptor.AcceptStream()
			require.NoError(t, err)
			for _, s := range []geminio.Stream{near, far} {
				assert.Equal(t, metadata.MD{"k": {"v"}}, metadata.From(s))
				assert.Equal(t, "peer", s.Peer())
				assert.Equal(t, "meta", string(s.Meta()))
			}
			near.Close()
		}
	})
}

// Metadata, meta and peer fill the frame of an open exactly.
func TestLargestMetadataOfAStream(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "k", strings.Repeat("v", 1000))
		opt := options.OpenStream()
		opt.SetPeer("peer")
		opt.SetMeta(make([]byte, 65522-4-1004))
		_, err := client.OpenStreamContext(ctx, opt)
		require.NoError(t, err)
		_, err = server.AcceptStream()
		require.NoError(t, err)

		opt.SetMeta(make([]byte, 65522-4-1004+1))
		_, err = client.OpenStreamContext(ctx, opt)
		assert.EqualError(t, err, "meta, metadata and peer of a stream: too large: 65523 exceeds 65522")
		opt.SetMeta(make([]byte, 65526-4))
		_, err = client.OpenStream(opt)
		require.NoError(t, err)
		opt.SetMeta(make([]byte, 65526-4+1))
		_, err = client.OpenStream(opt)
		assert.EqualError(t, err, "meta, metadata and peer of a stream: too large: 65527 exceeds 65526")
		_, err = client.OpenStreamContext(metadata.AppendToOutgoingContext(ctx, "Ä", ""))
		var bad *metadata.Error
		assert.ErrorAs(t, err, &bad)
	})
}

// An open with metadata that breaks a rule is refused.
func TestMalformedMetadataOfAStream(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		bad := pairs.List{}.Append("Key", "v")
		ctx := context.WithValue(t.Context(), pairs.OutgoingKey{}, &pairs.Outgoing{List: bad})
		_, err := client.OpenStreamContext(ctx)
		var refused *geminio.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, geminio.CodeProtocol, refused.Code)
		assert.ErrorContains(t, err, `key "Key"`)
		_, err = client.OpenStream()
		assert.NoError(t, err)
	})
}
