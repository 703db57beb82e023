package wire1

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/test/oldpeer"
)

// A peer of wire 1 has no metadata: operations leave it out, and go ahead without.
func TestMetadataIsLeftOut(t *testing.T) {
	var got chan wire1.Packet
	set := func(c *config) {
		echoing(c)
		c.client.SetMetadata(metadata.Pairs("k", "v"))
		c.serve.SetMetadata(metadata.Pairs("k", "v"))
		got = make(chan wire1.Packet, 10)
		c.peer.Message = func(_ *oldpeer.Session, p wire1.Packet) error {
			got <- p
			return nil
		}
	}
	eachRole(t, set, func(t *testing.T, s *setup) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "k", strings.Repeat("v", 65535))
		resp, err := s.end.Call(ctx, "echo", s.end.NewRequest([]byte("hi")))
		require.NoError(t, err)
		assert.Equal(t, "old hi", string(resp.Data()))
		assert.Nil(t, metadata.From(resp))
		assert.Nil(t, metadata.From(s.end))
		require.NoError(t, s.end.Publish(ctx, s.end.NewMessage([]byte("hello"))))
		assert.Equal(t, "hello", string((<-got).Value))
		stream, err := geminio.OpenStreamContext(ctx, s.end)
		require.NoError(t, err)
		assert.Nil(t, metadata.From(stream))

		require.NoError(t, s.end.Register(t.Context(), "m", func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
			md, ok := metadata.FromIncomingContext(ctx)
			assert.False(t, ok, "%v", md)
			metadata.SetOutgoing(ctx, metadata.Pairs("k", "v"))
			resp.SetData([]byte("data"))
		}))
		data, err := s.peer.Call(t.Context(), "m", nil)
		require.NoError(t, err)
		assert.Equal(t, "data", string(data))

		_, err = s.end.Call(metadata.AppendToOutgoingContext(ctx, "", ""), "echo", s.end.NewRequest(nil))
		var bad *metadata.Error
		assert.ErrorAs(t, err, &bad)
	})
}
