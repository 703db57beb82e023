package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// entry is a key and a value of metadata.
type entry struct{ key, value string }

// list is metadata.
type list []entry

// bytes returns the list as it is sent.
func (l list) bytes() (b []byte) {
	for _, p := range l {
		b = append(b, byte(len(p.key)), byte(len(p.value)>>8), byte(len(p.value)))
		b = append(append(b, p.key...), p.value...)
	}
	return b
}

// parseList parses a list. It panics if a pair is not complete.
func parseList(b []byte) (l list) {
	for len(b) > 0 {
		k, v := int(b[0]), int(binary.BigEndian.Uint16(b[1:]))
		l = append(l, entry{string(b[3 : 3+k]), string(b[3+k : 3+k+v])})
		b = b[3+k+v:]
	}
	return l
}

// lengths returns the length of custom, and that of metadata if there is any.
func lengths(custom string, md list) []byte {
	if len(md) == 0 {
		return u32(len(custom))
	}
	n := u32(len(custom))
	n[0] |= 0x80 // the highest bit
	return append(n, u32(len(md.bytes()))...)
}

// split splits the part of a body that begins with the length of custom, and has a name of n
// bytes, or a text, behind the lengths.
func split(n int, b []byte) (name []byte, md list, custom, data []byte) {
	k, m := binary.BigEndian.Uint32(b), 0
	b = b[4:]
	if k>>31 != 0 {
		m, b = int(binary.BigEndian.Uint32(b)), b[4:]
	}
	name, md, b = b[:n], parseList(b[n:n+m]), b[n+m:]
	k &= 1<<31 - 1
	return name, md, b[:k], b[k:]
}

// someMD is the metadata of the tests, and some the same for this client.
var (
	some   = list{{"trace-id", "7f"}, {"bin", "\x00\xff"}, {"bin", ""}}
	someMD = metadata.MD{"trace-id": {"7f"}, "bin": {"\x00\xff", ""}}
)

// takesMetadata connects a client that takes metadata. The handshake has metadata in both
// directions.
func takesMetadata(t *testing.T, own offer, opt *server.EndOptions) *pair {
	t.Helper()
	own.Metadata = 10_000
	opt.SetMetadata(metadata.Pairs("zone", "eu"))
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	c, err := connectWith(nc, own, 0, map[string]any{"metadata": some.bytes(), "wire2": own})
	require.NoError(t, err)
	p := run(t, c, l)
	assert.Equal(t, someMD, metadata.From(p.end))
	assert.Equal(t, list{{"zone", "eu"}}, c.metadata)
	assert.Equal(t, 64<<10, c.server.Metadata)
	return p
}

func TestMetadata(t *testing.T) {
	eachOffer(t, func(t *testing.T, own offer) {
		p := takesMetadata(t, own, limited())
		for _, size := range []int{0, 100, 20_000} {
			if own.Large < 4<<20 && size > 1000 {
				continue
			}
			data := pattern(size)
			require.NoError(t, p.end.Register(t.Context(), "m", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
				md, _ := metadata.FromIncomingContext(ctx)
				assert.Equal(t, someMD, md)
				metadata.SetOutgoing(ctx, metadata.Pairs("a", "1", "a", "2"))
				resp.SetData(req.Data())
				resp.SetCustom(req.Custom())
			}))
			a, err := p.main().ask(typeRequest, requestBody("m", 0, "custom", data, some...))
			require.NoError(t, err)
			assert.Equal(t, list{{"a", "1"}, {"a", "2"}}, a.metadata)
			assert.Equal(t, "custom", string(a.custom))
			assert.Equal(t, data, append([]byte{}, a.data...))

			received := make(chan geminio.Message, 1)
			go func() {
				m, err := p.end.Receive(t.Context())
				assert.NoError(t, err)
				m.Done()
				received <- m
			}()
			_, err = p.main().ask(typeMessage, messageBody(2, "topic", "custom", data, some...))
			require.NoError(t, err)
			m := <-received
			assert.Equal(t, someMD, metadata.From(m))
			assert.Equal(t, "custom", string(m.Custom()))

			ctx := metadata.NewOutgoingContext(t.Context(), someMD)
			p.mu.Lock()
			p.replies = list{{"node", "a7"}}
			p.mu.Unlock()
			require.NoError(t, p.main().register("far", func(b []byte, _ <-chan struct{}) ([]byte, *remote) { return b, nil }))
			resp, err := p.end.Call(ctx, "far", p.end.NewRequest(data))
			require.NoError(t, err)
			assert.Equal(t, metadata.MD{"node": {"a7"}}, metadata.From(resp))
			p.mu.Lock()
			assert.ElementsMatch(t, some, p.asked)
			p.mu.Unlock()

			once := options.NewMessage()
			once.SetCnss(options.CnssAtMostOnce)
			once.SetTopic("topic")
			require.NoError(t, p.end.Publish(ctx, p.end.NewMessage(data, once)))
			got, err := p.main().receive()
			require.NoError(t, err)
			assert.ElementsMatch(t, some, got.metadata)
			assert.Equal(t, "topic", got.topic)
			assert.Equal(t, string(data), got.data)
		}

		s, err := p.openStream("peer", []byte("meta"), some...)
		require.NoError(t, err)
		far, err := p.end.AcceptStream()
		require.NoError(t, err)
		assert.Equal(t, someMD, metadata.From(far))
		assert.Equal(t, "peer meta", fmt.Sprintf("%s %s", far.Peer(), far.Meta()))
		require.NoError(t, s.Close())
		if own.Streams > 0 {
			p.mu.Lock()
			p.opened = make(chan *stream, 8)
			p.mu.Unlock()
			opt := options.OpenStream()
			opt.SetPeer("peer")
			opt.SetMeta([]byte("meta"))
			_, err := geminio.OpenStreamContext(metadata.NewOutgoingContext(t.Context(), someMD), p.end, opt)
			require.NoError(t, err)
			opened := <-p.opened
			assert.ElementsMatch(t, some, opened.metadata)
			assert.Equal(t, "peer meta", opened.peer+" "+opened.meta)
		}

		// The server keeps the limit of the client.
		large := metadata.AppendToOutgoingContext(t.Context(), "k", strings.Repeat("v", 10_000))
		_, err = p.end.Call(large, "far", p.end.NewRequest(nil))
		assert.ErrorIs(t, err, geminio.ErrTooLarge)
		require.NoError(t, p.close())
	})
}

// A client whose offer has no metadata gets none.
func TestClientWithoutMetadata(t *testing.T) {
	eachOffer(t, func(t *testing.T, own offer) {
		p := newPair(t, own, limited())
		require.NoError(t, p.main().register("far", func(b []byte, _ <-chan struct{}) ([]byte, *remote) { return b, nil }))
		ctx := metadata.NewOutgoingContext(t.Context(), someMD)
		_, err := p.end.Call(ctx, "far", p.end.NewRequest([]byte("x")))
		require.NoError(t, err)
		p.mu.Lock()
		assert.Nil(t, p.asked)
		p.mu.Unlock()
		require.NoError(t, p.close())
	})
}

// Metadata that breaks a rule costs its operation, or the connection if its pairs are not
// complete.
func TestMetadataThatBreaksARule(t *testing.T) {
	many := make(list, 1025)
	for i := range many {
		many[i].key = "k"
	}
	for name, c := range map[string]struct {
		md   list
		want string
	}{
		"upper case": {list{{"Key", "v"}}, "upper-case letter 'K'"},
		"empty key":  {list{{"", "v"}}, "the key is empty"},
		"NUL":        {list{{"a\x00b", "v"}}, `character '\x00'`},
		"too many":   {many, "more than 1024 pairs"},
		"too large":  {list{{"k", strings.Repeat("v", 65535)}}, "metadata of 65539 bytes, at most 65536"},
	} {
		t.Run(name, func(t *testing.T) {
			p := takesMetadata(t, large, limited())
			refused := func(err error) {
				t.Helper()
				assert.Equal(t, codeProtocol, code(err))
				assert.ErrorContains(t, err, c.want)
			}
			require.NoError(t, p.end.Register(t.Context(), "m", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
				md, _ := metadata.FromIncomingContext(ctx)
				assert.Nil(t, md, "the handler runs for a request that breaks a rule")
			}))
			_, err := p.main().ask(typeRequest, requestBody("m", 0, "", nil, c.md...))
			refused(err)
			_, err = p.main().ask(typeMessage, messageBody(2, "", "", nil, c.md...))
			refused(err)
			require.NoError(t, p.main().send(typeMessage, 0, messageBody(1, "", "", nil, c.md...)))
			if len(c.md.bytes()) < 10_000-14 {
				_, err = p.openStream("", nil, c.md...)
				refused(err)
			}
			p.mu.Lock()
			p.replies = c.md
			p.mu.Unlock()
			require.NoError(t, p.main().register("far", func(b []byte, _ <-chan struct{}) ([]byte, *remote) { return b, nil }))
			_, err = p.end.Call(t.Context(), "far", p.end.NewRequest(nil))
			assert.ErrorIs(t, err, geminio.ErrProtocol)
			assert.ErrorContains(t, err, c.want)

			_, err = p.main().call("m", nil)
			assert.NoError(t, err, "the connection lives on")
			require.NoError(t, p.close())
		})
	}
	t.Run("not complete", func(t *testing.T) {
		p := takesMetadata(t, large, limited())
		body := requestBody("m", 0, "", nil, entry{"k", "v"})
		binary.BigEndian.PutUint32(body[22:], 4)
		_, err := p.main().ask(typeRequest, body)
		assert.Error(t, err)
		assert.Equal(t, codeProtocol, code(p.close()))
	})
	t.Run("handshake", func(t *testing.T) {
		l, err := server.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		_, err = connectWith(nc, large, 0, map[string]any{"metadata": list{{"Key", "v"}}.bytes(), "wire2": large})
		assert.Equal(t, codeProtocol, code(err))
		assert.ErrorContains(t, err, "upper-case letter 'K'")
		var refused *remote
		assert.True(t, errors.As(err, &refused))
	})
}
