package application

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

func TestCallCarriesEverything(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		var got geminio.Request
		register(t, server, "m", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok, "the handler's context has a deadline")
			assert.Equal(t, time.Minute, time.Until(deadline))
			got = req
			resp.SetData([]byte("data of the response"))
			resp.SetCustom([]byte("custom of the response"))
		})
		opt := options.NewRequest()
		opt.SetCustom([]byte("custom of the request"))
		req := client.NewRequest([]byte("data of the request"), opt)
		req.SetTimeout(time.Minute)
		resp, err := client.Call(t.Context(), "m", req)
		require.NoError(t, err)

		assert.Equal(t, req.ID(), got.ID(), "ID")
		assert.Equal(t, "m", got.Method(), "Method")
		assert.EqualValues(t, 42, got.ClientID(), "ClientID")
		assert.EqualValues(t, 1, got.StreamID(), "StreamID")
		assert.Equal(t, time.Minute, got.Timeout(), "Timeout")
		assert.Equal(t, "data of the request", string(got.Data()), "Data")
		assert.Equal(t, "custom of the request", string(got.Custom()), "Custom")

		assert.Equal(t, req.ID(), resp.ID(), "ID of the response")
		assert.Equal(t, "m", resp.Method(), "Method of the response")
		assert.EqualValues(t, 42, resp.ClientID(), "ClientID of the response")
		assert.EqualValues(t, 1, resp.StreamID(), "StreamID of the response")
		assert.Equal(t, "data of the response", string(resp.Data()), "Data of the response")
		assert.Equal(t, "custom of the response", string(resp.Custom()), "Custom of the response")
		assert.NoError(t, resp.Error(), "Error of the response")
	})
}

func TestCallReturnsTheErrorOfTheHandler(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		register(t, server, "m", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			resp.SetData([]byte("data"))
			resp.SetError(errors.New("the text"))
		})
		resp, err := client.Call(t.Context(), "m", client.NewRequest(nil))
		want := &geminio.RemoteError{Code: geminio.CodeApplication, Text: "the text"}
		assert.Equal(t, want, err)
		require.NotNil(t, resp)
		assert.Equal(t, want, resp.Error())
		assert.Equal(t, "data", string(resp.Data()))
	})
}

func TestCallRefusesItsArguments(t *testing.T) {
	cfg := endConfig()
	cfg.CheckRemote = true
	withPair(t, cfg, nil, func(t *testing.T, client, server *End) {
		register(t, server, "m", func(context.Context, geminio.Request, geminio.Response) {})
		stream, _ := openPair(t, client, server)
		req := client.NewRequest(nil)
		otherClient := NewRequest(1, 43, 1, nil, nil)
		for _, test := range []struct {
			name   string
			ctx    context.Context
			method string
			req    geminio.Request
			want   error // nil: the error names the argument
		}{
			{"no context", nil, "m", req, nil},
			{"no request", t.Context(), "m", nil, nil},
			{"another client", t.Context(), "m", otherClient, geminio.ErrMismatchClientID},
			{"another stream", t.Context(), "m", stream.NewRequest(nil), geminio.ErrMismatchStreamID},
			{"a method that is not registered", t.Context(), "unknown", req, geminio.ErrRemoteRPCUnregistered},
			{"a long method", t.Context(), strings.Repeat("x", packet.MaxName+1), req, geminio.ErrTooLarge},
			{"large data", t.Context(), "m", client.NewRequest(make([]byte, 2<<20)), geminio.ErrTooLarge},
			{"a context that has ended", ended(t), "m", req, context.Canceled},
		} {
			_, err := client.Call(test.ctx, test.method, test.req)
			c, errAsync := client.CallAsync(test.ctx, test.method, test.req, nil)
			assert.Nil(t, c, test.name)
			if test.want == nil {
				assert.ErrorContains(t, err, "nil", test.name)
				assert.ErrorContains(t, errAsync, "nil", test.name)
				continue
			}
			assert.ErrorIs(t, err, test.want, test.name)
			assert.ErrorIs(t, errAsync, test.want, "CallAsync: %s", test.name)
		}
		client.Close()
		_, err := client.Call(t.Context(), "m", req)
		assert.Equal(t, io.EOF, err, "after Close")
		_, err = client.CallAsync(t.Context(), "m", req, nil)
		assert.Equal(t, io.EOF, err, "CallAsync after Close")
	})
}

// ended returns a context that has ended.
func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestCallEndsWithItsContext(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		handler := make(chan error, 1)
		register(t, server, "hang", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			<-ctx.Done()
			handler <- ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- call(ctx, client, "hang") }()
		synctest.Wait()
		cancel()
		assert.Equal(t, context.Canceled, <-result)
		assert.Equal(t, context.Canceled, <-handler, "the context of the handler")

		opt := options.Call()
		opt.SetTimeout(time.Minute)
		start := time.Now()
		_, err := client.Call(t.Context(), "hang", client.NewRequest(nil), opt)
		assert.Equal(t, context.DeadlineExceeded, err)
		assert.Equal(t, time.Minute, time.Since(start))
		assert.Equal(t, context.DeadlineExceeded, <-handler, "the context of the handler")
		assert.True(t, client.pending.empty())
	})
}

func TestCallAsyncSendsTheCall(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		register(t, server, "echo", func(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) })
		c, err := client.CallAsync(t.Context(), "echo", client.NewRequest([]byte("1")), nil)
		require.NoError(t, err)
		assert.Equal(t, "echo", c.Method)
		got := <-c.Done
		require.NoError(t, got.Error)
		assert.Same(t, c, got)
		assert.Equal(t, "1", string(got.Response.Data()))

		full := make(chan *geminio.Call) // without room
		for i := range 3 {
			_, err := client.CallAsync(t.Context(), "echo", client.NewRequest(fmt.Append(nil, i)), full)
			require.NoError(t, err)
		}
		synctest.Wait()
		var all []string
		for range 3 {
			all = append(all, string((<-full).Response.Data()))
		}
		assert.ElementsMatch(t, []string{"0", "1", "2"}, all)

		_, err = client.CallAsync(t.Context(), "echo", client.NewRequest(nil), full)
		require.NoError(t, err)
		synctest.Wait()
		client.Close() // and the goroutine that waits for room ends
	})
}

func TestHandSurvivesAClosedChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		ch := make(chan int)
		close(ch)
		Hand(logger, nil, ch, 1)
		assert.Contains(t, log.String(), "is closed")

		log.Reset()
		ch = make(chan int)
		Hand(logger, nil, ch, 1)
		synctest.Wait()
		close(ch)
		synctest.Wait()
		assert.Contains(t, log.String(), "is closed")
	})
}

func TestCallTimeout(t *testing.T) {
	req := NewRequest(1, 1, 1, nil, nil)
	timeout := func(d time.Duration) *options.CallOptions {
		opt := options.Call()
		opt.SetTimeout(d)
		return opt
	}
	assert.Zero(t, CallTimeout(req, nil), "without any")
	req.SetTimeout(time.Second)
	assert.Equal(t, time.Second, CallTimeout(req, nil), "of the request")
	assert.Equal(t, time.Second, CallTimeout(req, []*options.CallOptions{options.Call(), nil}), "options without a timeout")
	assert.Equal(t, time.Minute, CallTimeout(req, []*options.CallOptions{timeout(time.Hour), timeout(time.Minute)}), "of the last options")
	assert.Zero(t, CallTimeout(req, []*options.CallOptions{timeout(0)}), "0 of the options")
	assert.Zero(t, CallTimeout(req, []*options.CallOptions{timeout(-1)}), "a negative one")
	req.SetTimeout(-1)
	assert.Zero(t, CallTimeout(req, nil), "a negative one of the request")
}

func TestKeep(t *testing.T) {
	body := []byte("mdcustomdata")
	for _, owned := range []bool{true, false} {
		md, custom, data := keep(body[:2:2], body[2:8:8], body[8:], owned)
		assert.Equal(t, "md", string(md))
		assert.Equal(t, "custom", string(custom))
		assert.Equal(t, "data", string(data))
		assert.Equal(t, owned, &custom[0] == &body[2], "owned %v: the memory is that of the body", owned)
		_ = append(md, "xyz"...)
		assert.Equal(t, "custom", string(custom), "after an append to the metadata")
		md, custom, data = keep(body[:0], body[:0], body[:0], owned)
		assert.Nil(t, md)
		assert.Nil(t, custom)
		assert.Nil(t, data)
	}
}

// TestCustomEndsBeforeTheData appends to the custom bytes of a large request, which shares its
// memory with the data.
func TestCustomEndsBeforeTheData(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		data := bytes.Repeat([]byte("d"), 100_000)
		register(t, server, "m", func(_ context.Context, req geminio.Request, resp geminio.Response) {
			_ = append(req.Custom(), "xyz"...)
			resp.SetData(fmt.Append(nil, bytes.Equal(data, req.Data())))
		})
		opt := options.NewRequest()
		opt.SetCustom([]byte("custom"))
		resp, err := client.Call(t.Context(), "m", client.NewRequest(data, opt))
		require.NoError(t, err)
		assert.Equal(t, "true", string(resp.Data()), "whether the data is unchanged")
	})
}
