package cluster_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/kit"
)

// opened returns the ends of a stream that node b opens to a client of node a.
func opened(t *testing.T, a, b *host, id uint64) (near, far geminio.Stream) {
	t.Helper()
	end := a.dial(id)
	settled(t, id, a, b)
	accepted := kit.Start(func() geminio.Stream {
		s, _ := end.AcceptStream()
		return s
	})
	near, err := b.OpenStream(within(t), id)
	require.NoError(t, err)
	return near, <-accepted
}

func TestAStreamThroughANode(t *testing.T) {
	a, b, _ := three(t)
	end := a.dial(7)
	settled(t, 7, a, b)
	accepted := kit.Start(func() geminio.Stream {
		s, _ := end.AcceptStream()
		return s
	})
	opt := options.OpenStream()
	opt.SetMeta([]byte("meta"))
	opt.SetPeer("peer")
	md := metadata.Pairs("trace", "1")
	near, err := b.OpenStream(metadata.NewOutgoingContext(within(t), md), 7, opt)
	require.NoError(t, err)
	far := <-accepted
	for _, s := range []geminio.Stream{near, far} {
		assert.Equal(t, far.StreamID(), s.StreamID())
		assert.Equal(t, uint64(7), s.ClientID())
		assert.Equal(t, "meta", string(s.Meta()))
		assert.Equal(t, "peer", s.Peer())
		assert.Equal(t, md, metadata.From(s))
	}
	eventually(t, "the node counts the stream", func() bool { return a.Stats().Streams == 1 })
	near.Close()
	_, err = far.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
	_, err = far.Receive(within(t))
	assert.Equal(t, io.EOF, err, "the whole stream has ended")
	eventually(t, "the node has nothing of the stream", func() bool { return a.Stats().Streams == 0 })
}

// TestTheBytesOfAStream sends bytes in both directions, each of which ends by itself.
func TestTheBytesOfAStream(t *testing.T) {
	size := int64(256 << 20)
	if kit.Race || testing.Short() {
		size = 16 << 20
	}
	a, b, _ := three(t)
	near, far := opened(t, a, b, 7)
	send := func(s geminio.Stream, seed byte) <-chan [32]byte {
		return kit.Start(func() [32]byte {
			sum := sha256.New()
			source := io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
			_, err := io.Copy(io.MultiWriter(s, sum), source)
			assert.NoError(t, err)
			assert.NoError(t, geminio.CloseWrite(s))
			return [32]byte(sum.Sum(nil))
		})
	}
	receive := func(s geminio.Stream) <-chan [32]byte {
		return kit.Start(func() [32]byte {
			sum := sha256.New()
			n, err := io.Copy(sum, s)
			assert.NoError(t, err)
			assert.Equal(t, size, n)
			return [32]byte(sum.Sum(nil))
		})
	}
	sent, received := send(near, 1), receive(far)
	assert.Equal(t, <-sent, <-received)
	sent, received = send(far, 2), receive(near) // after the end of the other direction
	assert.Equal(t, <-sent, <-received)
}

func TestTheResetOfAStream(t *testing.T) {
	a, b, _ := three(t)
	for name, toward := range map[string]func(near, far geminio.Stream) (geminio.Stream, geminio.Stream){
		"to the client":   func(near, far geminio.Stream) (geminio.Stream, geminio.Stream) { return near, far },
		"from the client": func(near, far geminio.Stream) (geminio.Stream, geminio.Stream) { return far, near },
	} {
		t.Run(name, func(t *testing.T) {
			from, to := toward(opened(t, a, b, 7))
			_, err := from.Write([]byte("x"))
			require.NoError(t, err)
			_, err = io.ReadFull(to, make([]byte, 1))
			require.NoError(t, err)
			require.NoError(t, geminio.Reset(from, 1234, "reason"))
			_, err = to.Read(make([]byte, 1))
			assert.Equal(t, &geminio.StreamError{Code: 1234, Text: "reason", Remote: true}, err)
			_, err = to.Write([]byte("x"))
			assert.Equal(t, &geminio.StreamError{Code: 1234, Text: "reason", Remote: true}, err)

			from, to = toward(opened(t, a, b, 8))
			require.NoError(t, geminio.CloseRead(from))
			eventually(t, "the writer learns that nobody reads", func() bool {
				_, err := to.Write([]byte("x"))
				_, stopped := errors.AsType[*geminio.StreamError](err)
				return stopped
			})
			_, err = from.Write([]byte("y"))
			require.NoError(t, err, "the other direction continues")
			_, err = io.ReadFull(to, make([]byte, 1))
			require.NoError(t, err)
		})
	}
}

// TestCallsAndMessagesOfAStream uses a stream in both directions.
func TestCallsAndMessagesOfAStream(t *testing.T) {
	a, b, _ := three(t)
	near, far := opened(t, a, b, 7)
	for name, s := range map[string][2]geminio.Stream{"to the client": {near, far}, "from the client": {far, near}} {
		t.Run(name, func(t *testing.T) {
			from, to := s[0], s[1]
			require.NoError(t, to.Register(within(t), "echo", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
				md, _ := metadata.FromIncomingContext(ctx)
				metadata.SetOutgoing(ctx, md)
				resp.SetData(req.Data())
				resp.SetCustom(req.Custom())
				if string(req.Data()) == "fail" {
					resp.SetError(&geminio.RemoteError{Code: 1234, Text: "no"})
				}
			}))
			md := metadata.Pairs("k", "v")
			opt := options.NewRequest()
			opt.SetCustom([]byte("custom"))
			resp, err := from.Call(metadata.NewOutgoingContext(within(t), md), "echo", from.NewRequest([]byte("x"), opt))
			require.NoError(t, err)
			assert.Equal(t, "x", string(resp.Data()))
			assert.Equal(t, "custom", string(resp.Custom()))
			assert.Equal(t, md, metadata.From(resp))
			resp, err = from.Call(within(t), "echo", from.NewRequest([]byte("fail")))
			assert.Equal(t, &geminio.RemoteError{Code: 1234, Text: "no"}, err)
			assert.Equal(t, "fail", string(resp.Data()))
			_, err = from.Call(within(t), "missing", from.NewRequest(nil))
			assert.Equal(t, geminio.CodeNoMethod, geminio.CodeOf(err))

			var published []*geminio.Publish
			for i := range 100 {
				opt := options.NewMessage()
				opt.SetTopic("t")
				p, err := from.PublishAsync(metadata.NewOutgoingContext(within(t), md), from.NewMessage([]byte{byte(i)}, opt), nil)
				require.NoError(t, err)
				published = append(published, p)
			}
			for i := range 100 {
				m, err := to.Receive(within(t))
				require.NoError(t, err)
				assert.Equal(t, []byte{byte(i)}, m.Data())
				assert.Equal(t, "t", m.Topic())
				assert.Equal(t, md, metadata.From(m))
				assert.Empty(t, published[i].Done, "nobody else answers")
				if i%2 == 0 {
					m.Done()
				} else {
					m.Error(&geminio.RemoteError{Code: 1001, Text: "odd"})
				}
			}
			for i, p := range published {
				<-p.Done
				if i%2 == 0 {
					assert.NoError(t, p.Error)
				} else {
					assert.Equal(t, &geminio.RemoteError{Code: 1001, Text: "odd"}, p.Error)
				}
			}
		})
	}

	// The end of the stream interrupts the operations under way.
	entered := make(chan struct{})
	require.NoError(t, far.Register(within(t), "hangs", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
		close(entered)
		<-ctx.Done()
	}))
	called := kit.Start(func() error {
		_, err := near.Call(within(t), "hangs", near.NewRequest(nil))
		return err
	})
	unanswered := kit.Start(func() error { return near.Publish(within(t), near.NewMessage(nil)) })
	<-entered
	_, err := far.Receive(within(t))
	require.NoError(t, err)
	far.Close()
	assert.ErrorIs(t, <-called, geminio.ErrMaybeExecuted)
	assert.ErrorIs(t, <-unanswered, geminio.ErrMaybeExecuted)
}

func TestAStreamIsRefused(t *testing.T) {
	a, b, _ := three(t)
	opt := client.NewEndOptions()
	opt.SetClientID(7)
	opt.SetDelegate(&refusing{})
	end, err := client.NewEnd("tcp", a.addr, opt)
	require.NoError(t, err)
	defer end.Close()
	settled(t, 7, a, b)
	for _, h := range []*host{a, b} {
		_, err := h.OpenStream(within(t), 7)
		refused, ok := errors.AsType[*geminio.RefusedError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, &geminio.RefusedError{Code: 1234, Text: "not now"}, refused)
		_, err = h.OpenStream(within(t), 99)
		assert.Equal(t, cluster.ErrClientOffline, err)
	}
	assert.Zero(t, a.Stats().Streams)
}

// TestAnOpeningIsGivenUp lets a client decide about a stream for too long.
func TestAnOpeningIsGivenUp(t *testing.T) {
	a, b, _ := three(t)
	release := make(chan struct{})
	opt := client.NewEndOptions()
	opt.SetClientID(7)
	opt.SetDelegate(&refusing{wait: release})
	end, err := client.NewEnd("tcp", a.addr, opt)
	require.NoError(t, err)
	defer end.Close()
	defer close(release)
	settled(t, 7, a, b)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = b.OpenStream(ctx, 7)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestAStalledReader lets a client not read one stream, while another one carries bytes.
func TestAStalledReader(t *testing.T) {
	a, b, _ := three(t)
	near, far := opened(t, a, b, 7)
	const bound = 64 << 20 // the window of the client dominates: an eighth of its budget
	written := 0
	for {
		near.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := near.Write(make([]byte, 1<<20))
		written += n
		if err != nil {
			require.ErrorContains(t, err, "timeout")
			break
		}
		require.Less(t, written, bound)
	}
	for _, h := range []*host{a, b} {
		_, err := h.Call(within(t), 7, "echo", make([]byte, 100<<10))
		assert.Equal(t, geminio.CodeNoMethod, geminio.CodeOf(err), "calls pass")
	}
	geminio.CloseWrite(near)
	n, _ := io.Copy(io.Discard, far)
	assert.Equal(t, int64(written), n, "all bytes that were taken arrive")
}

// TestAStalledReaderLearnsOfTheEnd ends a stream whose client does not read, so that the node of the client
// waits for credit. The stream ends at the client all the same, and the node keeps nothing of it.
func TestAStalledReaderLearnsOfTheEnd(t *testing.T) {
	for name, end := range map[string]func(a, b *host, near geminio.Stream){
		"reset":                   func(_, _ *host, near geminio.Stream) { geminio.Reset(near, 1234, "given up") },
		"the client's node ends":  func(a, _ *host, _ geminio.Stream) { a.Close() },
		"the caller's node ends":  func(_, b *host, _ geminio.Stream) { b.Close() },
		"the client's node stops": func(a, _ *host, _ geminio.Stream) { a.Shutdown(ended()) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, _ := three(t)
			near, far := opened(t, a, b, 7)
			near.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			_, err := near.Write(make([]byte, 64<<20))
			require.ErrorContains(t, err, "timeout")
			end(a, b, near)
			_, err = far.Receive(within(t))
			assert.Equal(t, io.EOF, err)
			eventually(t, "the node has nothing of the stream", func() bool { return a.Stats().Streams == 0 })
			_, err = io.Copy(io.Discard, far)
			e, ok := errors.AsType[*geminio.StreamError](err)
			require.True(t, ok, err)
			assert.Equal(t, name == "reset", e.Code == 1234 && e.Text == "given up", e.Error())
		})
	}
}

// ended returns a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestAStreamEndsBeforeItsMessageIsAnswered closes a stream on which the client has received a message that it
// has not answered.
func TestAStreamEndsBeforeItsMessageIsAnswered(t *testing.T) {
	a, b, _ := three(t)
	near, far := opened(t, a, b, 7)
	_, err := near.PublishAsync(within(t), near.NewMessage([]byte("first")), nil)
	require.NoError(t, err)
	_, err = far.Receive(within(t))
	require.NoError(t, err)
	near.Close()
	_, err = far.Receive(within(t))
	assert.Equal(t, io.EOF, err)
	eventually(t, "the node has nothing of the stream", func() bool { return a.Stats().Streams == 0 })
}

// TestAStreamOfALostNode closes a node in the middle of a stream. No reader may take what has arrived for
// complete.
func TestAStreamOfALostNode(t *testing.T) {
	for name, lost := range map[string]func(a, b *host) *host{
		"of the client": func(a, _ *host) *host { return a }, "of the caller": func(_, b *host) *host { return b },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, _ := three(t)
			near, far := opened(t, a, b, 7)
			_, err := near.Write([]byte("half"))
			require.NoError(t, err)
			_, err = far.Write([]byte("half"))
			require.NoError(t, err)
			for _, s := range []geminio.Stream{near, far} {
				_, err = io.ReadFull(s, make([]byte, 4))
				require.NoError(t, err)
			}
			lost(a, b).Close()
			for _, s := range []geminio.Stream{near, far} {
				_, err := io.ReadAll(s)
				assert.Error(t, err, "io.ReadAll returns no error at io.EOF")
			}
		})
	}
}
