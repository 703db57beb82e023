package cluster_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/kit"
)

func TestCallsReachAClientThroughEveryNode(t *testing.T) {
	a, b, c := three(t)
	a.dial(7, echo)
	settled(t, 7, a, a, b, c)
	for _, h := range []*host{a, b, c} {
		for _, size := range []int{0, 10, 200 << 10, 3 << 20} { // over NATS and over a direct connection
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(i * 7)
			}
			opt := options.NewRequest()
			opt.SetCustom([]byte("custom"))
			resp, err := h.Call(within(t), 7, "echo", data, opt)
			require.NoError(t, err, size)
			assert.True(t, string(data) == string(resp.Data), size)
			assert.Equal(t, "custom", string(resp.Custom))
		}
	}
	assert.Equal(t, 1, b.Stats().Links)
	assert.Zero(t, a.Stats().Remote)
}

// TestALargeAnswerToASmallCall checks that an answer which is too large for NATS takes the direct
// connection.
func TestALargeAnswerToASmallCall(t *testing.T) {
	a, b, _ := three(t)
	a.dial(7, &geminio.MethodRPC{Method: "large", RPC: func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetData(make([]byte, 5<<20))
	}})
	settled(t, 7, a, b)
	resp, err := b.Call(within(t), 7, "large", nil)
	require.NoError(t, err)
	assert.Len(t, resp.Data, 5<<20)
}

// TestAHopPassesEverything checks what a call has besides its data, over NATS and over a direct
// connection.
func TestAHopPassesEverything(t *testing.T) {
	a, b, _ := three(t)
	canceled := make(chan error, 1)
	entered := make(chan struct{}, 1)
	a.dial(7,
		&geminio.MethodRPC{Method: "metadata", RPC: func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
			md, _ := metadata.FromIncomingContext(ctx)
			metadata.SetOutgoing(ctx, md)
		}},
		&geminio.MethodRPC{Method: "fails", RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			resp.SetData([]byte("data"))
			resp.SetError(&geminio.RemoteError{Code: 1234, Text: "no"})
		}},
		&geminio.MethodRPC{Method: "hangs", RPC: func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
			entered <- struct{}{}
			<-ctx.Done()
			canceled <- ctx.Err()
		}},
		&geminio.MethodRPC{Method: "panics", RPC: func(context.Context, geminio.Request, geminio.Response) { panic("oh") }},
		&geminio.MethodRPC{Method: "deadline", RPC: func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
			if d, ok := ctx.Deadline(); ok && time.Until(d) < time.Hour {
				resp.SetData([]byte("yes"))
			}
		}},
	)
	settled(t, 7, a, b)
	for name, data := range map[string][]byte{"NATS": nil, "direct": make([]byte, 100<<10)} {
		t.Run(name, func(t *testing.T) {
			md := metadata.Pairs("trace", "1", "trace", "2", "tenant", "x")
			resp, err := b.Call(metadata.NewOutgoingContext(within(t), md), 7, "metadata", data)
			require.NoError(t, err)
			assert.Equal(t, md, metadata.From(resp))

			resp, err = b.Call(within(t), 7, "fails", data)
			assert.Equal(t, &geminio.RemoteError{Code: 1234, Text: "no"}, err)
			assert.Equal(t, "data", string(resp.Data))

			_, err = b.Call(within(t), 7, "panics", data)
			assert.Equal(t, geminio.CodePanic, geminio.CodeOf(err))
			_, err = b.Call(within(t), 7, "missing", data)
			assert.Equal(t, geminio.CodeNoMethod, geminio.CodeOf(err))

			resp, err = b.Call(within(t), 7, "deadline", data)
			require.NoError(t, err)
			assert.Equal(t, "yes", string(resp.Data))

			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-entered
				cancel()
			}()
			_, err = b.Call(ctx, 7, "hangs", data)
			assert.Equal(t, context.Canceled, err)
			assert.Error(t, <-canceled, "the handler's context has ended")

			bad := metadata.Pairs("not allowed\n", "x")
			_, err = b.Call(metadata.NewOutgoingContext(within(t), bad), 7, "echo", data)
			_, isError := errors.AsType[*metadata.Error](err)
			assert.True(t, isError, "%v", err)
		})
	}
}

func TestMaybeExecutedSurvivesTheHop(t *testing.T) {
	a, b, _ := three(t)
	for name, data := range map[string][]byte{"NATS": nil, "direct": make([]byte, 100<<10)} {
		t.Run(name, func(t *testing.T) {
			a.dial(7, &geminio.MethodRPC{Method: "dies", RPC: func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
				end, _ := geminio.EndFrom(ctx)
				geminio.CloseWithError(end, 1000, "died")
				<-ctx.Done()
			}})
			settled(t, 7, a, b)
			_, err := b.Call(within(t), 7, "dies", data)
			i, ok := errors.AsType[*geminio.InterruptedError](err)
			require.True(t, ok, "%v", err)
			assert.True(t, i.MaybeExecuted)
			assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
			assert.NotErrorIs(t, err, cluster.ErrNodeLost)
			offline(t, 7, a, b)
		})
	}
}

func TestAPublicationIsAckedByTheClient(t *testing.T) {
	a, b, _ := three(t)
	end := a.dial(7)
	settled(t, 7, a, b)
	for name, data := range map[string][]byte{"NATS": []byte("x"), "direct": make([]byte, 100<<10)} {
		t.Run(name, func(t *testing.T) {
			published := make(chan error, 1)
			opt := options.NewMessage()
			opt.SetCustom([]byte("custom"))
			go func() { published <- b.Publish(within(t), 7, "news", data, opt) }()
			msg, err := end.Receive(within(t))
			require.NoError(t, err)
			assert.Equal(t, "news", msg.Topic())
			assert.Equal(t, "custom", string(msg.Custom()))
			assert.Equal(t, options.CnssAtLeastOnce, msg.Cnss())
			assert.Len(t, msg.Data(), len(data))
			assert.Empty(t, published, "nobody else acknowledges the message")
			require.NoError(t, msg.Done())
			require.NoError(t, <-published)

			go func() { published <- b.Publish(within(t), 7, "news", data) }()
			msg, err = end.Receive(within(t))
			require.NoError(t, err)
			msg.Error(&geminio.RemoteError{Code: 1001, Text: "refused"})
			assert.Equal(t, &geminio.RemoteError{Code: 1001, Text: "refused"}, <-published)

			opt.SetCnss(options.CnssAtMostOnce)
			require.NoError(t, b.Publish(within(t), 7, "news", data, opt))
			msg, err = end.Receive(within(t))
			require.NoError(t, err)
			assert.Equal(t, options.CnssAtMostOnce, msg.Cnss())
		})
	}
}

// TestACallOfALostNodeIsCanceled closes the node of the caller while the handler of the client waits for the end of
// its context. The call has no deadline.
func TestACallOfALostNodeIsCanceled(t *testing.T) {
	for name, size := range map[string]int{"NATS": 0, "direct": 100 << 10} {
		t.Run(name, func(t *testing.T) {
			a, b, _ := three(t)
			begun, over := make(chan struct{}), make(chan struct{})
			a.dial(7, &geminio.MethodRPC{Method: "wait", RPC: func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
				close(begun)
				<-ctx.Done()
				close(over)
			}})
			settled(t, 7, a, a, b)
			called := kit.Start(func() error {
				_, err := b.Call(context.Background(), 7, "wait", make([]byte, size))
				return err
			})
			<-begun
			b.Close()
			assert.Error(t, <-called)
			select {
			case <-over:
			case <-within(t).Done():
				t.Fatal("the context of the handler has not ended")
			}
			eventually(t, "the node has ended the request", func() bool { return a.Stats().Running == 0 })
		})
	}
}

func TestAnUnknownClientIsOffline(t *testing.T) {
	a, b, _ := three(t)
	_, err := b.Call(within(t), 99, "echo", nil)
	assert.Equal(t, cluster.ErrClientOffline, err)
	assert.Equal(t, cluster.ErrClientOffline, b.Publish(within(t), 99, "", nil))
	end := a.dial(7, echo)
	settled(t, 7, a, a, b)
	end.Close()
	offline(t, 7, a, b)
	_, err = b.Call(within(t), 7, "echo", nil)
	assert.Equal(t, cluster.ErrClientOffline, err)
}

func TestRequestsOfOtherNodesAreBounded(t *testing.T) {
	a, b, _ := three(t)
	_ = a
	release := make(chan struct{})
	hangs := &geminio.MethodRPC{Method: "hangs", RPC: func(ctx context.Context, _ geminio.Request, _ geminio.Response) { <-release }}
	small := join(t, a.conn(), cluster.Options{MaxRunning: 2})
	small.dial(8, hangs)
	settled(t, 8, small, b)
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			_, err := b.Call(within(t), 8, "hangs", nil)
			assert.NoError(t, err)
		})
	}
	eventually(t, "both calls run", func() bool { return small.Stats().Running == 2 })
	_, err := b.Call(within(t), 8, "hangs", nil)
	assert.ErrorIs(t, err, geminio.ErrTooMany)
	close(release)
	calls.Wait()
}
