package client

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// Operations of a RetryEnd keep their metadata over the loss of a connection, and each
// connection has that of the handshakes.
func TestMetadataSurvivesAReconnect(t *testing.T) {
	seen, served := make(chan metadata.MD, 10), 0
	sopt := serving("m", func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
		if served++; served == 1 {
			<-ctx.Done()
		}
		metadata.SetOutgoing(ctx, md)
	})
	sopt.SetMetadata(metadata.Pairs("zone", "eu"))
	opt := NewEndOptions()
	opt.SetMetadata(metadata.Pairs("token", "sesame"))
	withRetryEnd(t, sopt, opt, func(t *testing.T, l *retryTest) {
		assert.Equal(t, metadata.MD{"token": {"sesame"}}, metadata.From(l.server()))
		assert.Equal(t, metadata.MD{"zone": {"eu"}}, metadata.From(l.end))
		want := metadata.MD{"k": {"v"}}
		ctx := metadata.NewOutgoingContext(t.Context(), want)
		twice := options.Call()
		twice.SetIdempotent(true)
		call, err := l.end.CallAsync(ctx, "m", l.end.NewRequest(nil), nil, twice)
		require.NoError(t, err)
		publication, err := l.end.PublishAsync(ctx, l.end.NewMessage(nil), nil)
		require.NoError(t, err)
		assert.Equal(t, want, <-seen)
		first, err := l.server().Receive(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, metadata.From(first))
		l.cut()
		l.waiting(2)
		assert.Equal(t, 2*want.Size(), l.end.Stats().WaitingBytes)
		opening := make(chan error, 1)
		go func() {
			_, err := geminio.OpenStreamContext(ctx, l.end)
			opening <- err
		}()
		l.waiting(3)
		assert.Equal(t, 3*want.Size(), l.end.Stats().WaitingBytes)
		l.mend()

		<-call.Done
		require.NoError(t, call.Error)
		assert.Equal(t, want, <-seen, "the call on the next connection")
		assert.Equal(t, want, metadata.From(call.Response))
		again, err := l.server().Receive(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, metadata.From(again), "the message on the next connection")
		again.Done()
		assert.NoError(t, (<-publication.Done).Error)
		require.NoError(t, <-opening)
		stream, err := l.server().AcceptStream()
		require.NoError(t, err)
		assert.Equal(t, want, metadata.From(stream))
		assert.Equal(t, metadata.MD{"token": {"sesame"}}, metadata.From(l.server()))
		assert.Equal(t, metadata.MD{"zone": {"eu"}}, metadata.From(l.end))
	})
}

// Metadata that cannot be sent is an error of the operation, with and without a connection, and
// does not wait.
func TestRetryEndRefusesMetadata(t *testing.T) {
	withRetryEnd(t, nil, nil, func(t *testing.T, l *retryTest) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "k", strings.Repeat("v", 65535))
		refused := func() {
			start := time.Now()
			_, err := l.end.Call(ctx, "m", l.end.NewRequest(nil))
			assert.ErrorIs(t, err, geminio.ErrTooLarge)
			assert.ErrorIs(t, l.end.Publish(ctx, l.end.NewMessage(nil)), geminio.ErrTooLarge)
			_, err = l.end.OpenStreamContext(ctx)
			assert.ErrorIs(t, err, geminio.ErrTooLarge)
			assert.Zero(t, time.Since(start))
		}
		refused()
		assert.True(t, l.end.Stats().Connected)
	})
}

// Options whose metadata cannot be sent are an error of the constructors.
func TestMetadataOfOptions(t *testing.T) {
	dialer := func() (net.Conn, error) {
		t.Error("the End dials")
		return nil, errShut
	}
	for want, md := range map[string]metadata.MD{
		`options: metadata: key "Key": the key has the upper-case letter 'K'`:          {"Key": {"v"}},
		"options: Meta and Metadata, in the handshake: too large: 48001 exceeds 48000": metadata.Pairs("k", strings.Repeat("v", 48000-4-1000+1)),
		"options: metadata: value of key \"k\": too large: 65536 exceeds 65535":        {"k": {strings.Repeat("v", 65536)}},
		"options: pairs of metadata: too many: 1025 exceeds 1024":                      {"k": make([]string, 1025)},
	} {
		opt := NewEndOptions()
		opt.SetMeta(make([]byte, 1000))
		opt.SetMetadata(md)
		for _, make := range []func(Dialer, ...*EndOptions) (geminio.End, error){NewEndWithDialer, NewRetryEndWithDialer} {
			_, err := make(dialer, opt)
			assert.EqualError(t, err, want)
		}
		sopt := server.NewEndOptions()
		sopt.SetMetadata(md)
		l, err := server.Listen("tcp", "127.0.0.1:0", sopt)
		if strings.Contains(want, "in the handshake") {
			require.NoError(t, err)
			l.Close()
			continue
		}
		assert.EqualError(t, err, want)
	}
}

// The largest meta and metadata pass the handshake, also of a RetryEnd.
func TestLargestMetadataOfTheHandshake(t *testing.T) {
	md := metadata.Pairs("k", strings.Repeat("v", 48000-4-20000))
	opt, sopt := NewEndOptions(), server.NewEndOptions()
	opt.SetMeta(make([]byte, 20000))
	opt.SetMetadata(md)
	sopt.SetMetadata(metadata.Pairs("k", strings.Repeat("v", 48000-4)))
	withRetryEnd(t, sopt, opt, func(t *testing.T, l *retryTest) {
		assert.Equal(t, md, metadata.From(l.server()))
		assert.Equal(t, 48000, metadata.From(l.end).Size())
		assert.Len(t, l.server().Meta(), 20000)
	})
}
