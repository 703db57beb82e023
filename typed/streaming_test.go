package typed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/typed"
)

var (
	count = typed.ServerStreaming[question, int]{Name: "count"}
	sum   = typed.ClientStreaming[int, answer]{Name: "sum"}
	echo  = typed.Bidirectional[question, answer]{Name: "echo"}
)

// counting sends the numbers below q.N, and then fails if there is a text.
func counting(_ context.Context, q question, items *typed.Sender[int]) error {
	for i := range q.N {
		if err := items.Send(i); err != nil {
			return err
		}
	}
	if q.Text != "" {
		return fmt.Errorf("%s: %w", q.Text, quotaError{})
	}
	return nil
}

// summing answers with the sum of the items, and fails after one that is negative.
func summing(_ context.Context, items iter.Seq2[int, error]) (a answer, err error) {
	for n, err := range items {
		switch {
		case err != nil:
			return answer{}, err
		case n < 0:
			return answer{}, quotaError{}
		}
		a.N += n
	}
	return a, nil
}

// echoing answers each item in upper case, and fails after one without a text.
func echoing(ctx context.Context, c *typed.Conversation[answer, question]) error {
	for q, err := range c.All() {
		if err != nil {
			return err
		}
		a, err := upper(ctx, q)
		if err != nil {
			return err
		}
		if err := c.Send(a); err != nil {
			return err
		}
	}
	return nil
}

// streamPair is a pair of Ends in a bubble whose server serves streaming methods.
type streamPair struct {
	client, server geminio.End
	typed.Server
	ended chan error // the results of the handlers of watch
}

// inStreams runs a test with a streamPair.
func inStreams(t *testing.T, test func(t *testing.T, p *streamPair), opts ...*geminiotest.PairOptions) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		p := &streamPair{client: client, server: server, ended: make(chan error, 10)}
		count.Register(&p.Server, counting)
		sum.Register(&p.Server, summing)
		echo.Register(&p.Server, echoing)
		served := make(chan error, 1)
		go func() { served <- p.Serve(server, nil) }()
		t.Cleanup(func() {
			client.Close()
			require.Equal(t, io.EOF, <-served)
		})
		test(t, p)
		requireNoStreams(t, client, server)
	}, opts...)
}

// requireNoStreams requires that no stream is left but the default ones.
func requireNoStreams(t *testing.T, ends ...geminio.End) {
	t.Helper()
	synctest.Wait()
	for _, end := range ends {
		require.LessOrEqual(t, len(end.ListStreams()), 1, "streams that are left")
	}
}

// collect returns the items of a sequence, and its error.
func collect[T any](items iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range items {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

// sequence returns a sequence of items, with an error at its end if err is not nil.
func sequence[T any](err error, items ...T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range items {
			if !yield(v, nil) {
				return
			}
		}
		if err != nil {
			synctest.Wait() // the handler has the items
			var zero T
			yield(zero, err)
		}
	}
}

func TestServerStreaming(t *testing.T) {
	inStreams(t, func(t *testing.T, p *streamPair) {
		items := count.Call(t.Context(), p.client, question{N: 5})
		for range 2 { // each range is a call
			all, err := collect(items)
			require.NoError(t, err)
			require.Equal(t, []int{0, 1, 2, 3, 4}, all)
		}
		all, err := collect(count.Call(t.Context(), p.client, question{}))
		require.NoError(t, err)
		require.Empty(t, all)

		all, err = collect(count.Call(t.Context(), p.client, question{N: 3, Text: "later"}))
		requireCode(t, err, codeQuota, "later: over the quota")
		require.Equal(t, []int{0, 1, 2}, all, "the items before an error arrive")
	})
}

func TestClientStreaming(t *testing.T) {
	inStreams(t, func(t *testing.T, p *streamPair) {
		a, err := sum.Call(t.Context(), p.client, sequence(nil, 1, 2, 3))
		require.NoError(t, err)
		require.Equal(t, 6, a.N)
		a, err = sum.Call(t.Context(), p.client, sequence[int](nil))
		require.NoError(t, err)
		require.Zero(t, a.N)
		_, err = sum.Call(t.Context(), p.client, sequence(nil, 1, -1, 2))
		requireCode(t, err, codeQuota, "over the quota")
	})
}

// A handler that returns early ends the sequence of the caller.
func TestClientStreamingStops(t *testing.T) {
	small := server.NewEndOptions()
	small.SetBufferSize(4, 4)
	for name, sent := range map[string]string{"small items": "x", "items that fill the windows": strings.Repeat("x", 1<<20)} {
		t.Run(name, func(t *testing.T) {
			inStreams(t, func(t *testing.T, p *streamPair) {
				first := typed.ClientStreaming[string, answer]{Name: "first"}
				first.Register(&p.Server, func(_ context.Context, items iter.Seq2[string, error]) (answer, error) {
					for text := range items {
						time.Sleep(50 * time.Millisecond) // the caller sends as much as it can
						return answer{N: len(text)}, nil
					}
					return answer{}, errors.New("no item")
				})
				n := 0
				a, err := first.Call(t.Context(), p.client, func(yield func(string, error) bool) {
					for yield(sent, nil) {
						n++
						time.Sleep(time.Millisecond)
					}
				})
				require.NoError(t, err)
				require.Equal(t, len(sent), a.N)
				require.Less(t, n, 100)
			}, &geminiotest.PairOptions{Server: small})
		})
	}
}

func TestBidirectional(t *testing.T) {
	inStreams(t, func(t *testing.T, p *streamPair) {
		c, err := echo.Call(t.Context(), p.client)
		require.NoError(t, err)
		for i := range 3 {
			require.NoError(t, c.Send(question{Text: "hello", N: i}))
			a, err := c.Receive()
			require.NoError(t, err)
			require.Equal(t, answer{Text: "HELLO", N: i + 1}, a)
		}
		require.NoError(t, c.CloseSend())
		_, err = c.Receive()
		require.Equal(t, io.EOF, err)
		require.Equal(t, io.EOF, c.Send(question{Text: "late"}))
		require.NoError(t, c.Close())
		require.NoError(t, c.Close())

		c, err = echo.Call(t.Context(), p.client)
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.Send(question{Text: "first"}))
		require.NoError(t, c.Send(question{}))
		all, err := collect(c.All())
		requireCode(t, err, codeQuota, "over the quota")
		require.Len(t, all, 1)
		requireCode(t, c.Send(question{Text: "late"}), codeQuota, "over the quota")
	})
}

// watch sends an item, and then waits until the context of the handler ends.
var watch = typed.ServerStreaming[question, answer]{Name: "watch"}

func (p *streamPair) registerWatch() {
	watch.Register(&p.Server, func(ctx context.Context, _ question, items *typed.Sender[answer]) error {
		err := items.Send(answer{Text: "first"})
		if err == nil {
			<-ctx.Done()
			err = ctx.Err()
		}
		p.ended <- err
		return err
	})
}

// Leaving the range ends the handler within half a round trip, also while it sends nothing.
func TestLeavingTheRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := geminiotest.NewNetwork(t)
		client, server := geminiotest.Pair(t, &geminiotest.PairOptions{Network: n})
		p := &streamPair{client: client, server: server, ended: make(chan error, 1)}
		p.registerWatch()
		go p.Serve(server, nil)
		n.SetDelay(50 * time.Millisecond)
		var left time.Time
		for a, err := range watch.Call(t.Context(), client, question{}) {
			require.NoError(t, err)
			require.Equal(t, "first", a.Text)
			left = time.Now()
			break
		}
		require.Zero(t, time.Since(left), "leaving the range does not wait for the peer")
		require.ErrorIs(t, <-p.ended, context.Canceled)
		require.Equal(t, 50*time.Millisecond, time.Since(left))
		time.Sleep(time.Second)
		requireNoStreams(t, client, server)
	})
}

// A caller that leaves ends a handler that is blocked in Send or in its range, and the handler gets
// the reason.
func TestCallerLeaves(t *testing.T) {
	flood := typed.ServerStreaming[question, []byte]{Name: "flood"}
	leave := func(p *streamPair, ctx context.Context, stop func()) error {
		for _, err := range flood.Call(ctx, p.client, question{}) {
			if err != nil {
				return err
			}
			synctest.Wait() // the handler is blocked
			if stop == nil {
				break
			}
			stop()
		}
		return nil
	}
	inStreams(t, func(t *testing.T, p *streamPair) {
		flood.Register(&p.Server, func(ctx context.Context, _ question, items *typed.Sender[[]byte]) (err error) {
			for err == nil {
				err = items.Send(make([]byte, 1<<20))
			}
			p.ended <- err
			return err
		})
		require.NoError(t, leave(p, t.Context(), nil))
		err := <-p.ended
		requireCode(t, err, geminio.CodeCanceled, "the caller has left")
		require.ErrorIs(t, err, context.Canceled)

		ctx, cancel := context.WithCancel(t.Context())
		require.Equal(t, context.Canceled, leave(p, ctx, cancel))
		require.ErrorIs(t, <-p.ended, context.Canceled)

		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		require.Equal(t, context.DeadlineExceeded, leave(p, ctx, func() { <-ctx.Done() }))
		require.ErrorIs(t, <-p.ended, context.DeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(start))

		opt := options.Call()
		opt.SetTimeout(time.Second)
		p.registerWatch()
		all, err := collect(watch.Call(t.Context(), p.client, question{}, opt))
		require.Equal(t, context.DeadlineExceeded, err)
		require.Len(t, all, 1)
		require.ErrorIs(t, <-p.ended, context.DeadlineExceeded)

		// The error of a sequence ends the handler, with its text and code.
		collecting := typed.ClientStreaming[int, answer]{Name: "collecting"}
		collecting.Register(&p.Server, func(ctx context.Context, items iter.Seq2[int, error]) (answer, error) {
			_, err := collect(items)
			p.ended <- err
			return answer{}, err
		})
		_, err = collecting.Call(t.Context(), p.client, sequence(fmt.Errorf("disk: %w", quotaError{}), 1, 2))
		require.EqualError(t, err, "disk: over the quota")
		requireCode(t, <-p.ended, codeQuota, "disk: over the quota")

		c, err := echo.Call(t.Context(), p.client)
		require.NoError(t, err)
		c.Close()
		_, err = c.Receive()
		require.Error(t, err)
	})
}

func TestStreamingPanics(t *testing.T) {
	inStreams(t, func(t *testing.T, p *streamPair) {
		watch.Register(&p.Server, func(_ context.Context, _ question, items *typed.Sender[answer]) error {
			items.Send(answer{})
			panic("oops")
		})
		all, err := collect(watch.Call(t.Context(), p.client, question{}))
		requireCode(t, err, geminio.CodePanic, "oops")
		require.Len(t, all, 1)

		p.registerWatch()
		require.PanicsWithValue(t, "range", func() {
			for range watch.Call(t.Context(), p.client, question{}) {
				panic("range")
			}
		})
		require.ErrorIs(t, <-p.ended, context.Canceled)
	})
}

// Calls that fail before their handler is called must not wait for the end of the bytes.
func TestStreamingRefused(t *testing.T) {
	inStreams(t, func(t *testing.T, p *streamPair) {
		none := typed.ServerStreaming[question, int]{Name: "none"}
		_, err := collect(none.Call(t.Context(), p.client, question{}))
		requireCode(t, err, geminio.CodeNoMethod, "no such streaming method: none")
		count.Register(&p.Server, nil)
		_, err = collect(count.Call(t.Context(), p.client, question{}))
		requireCode(t, err, geminio.CodeNoMethod, "no such streaming method: count")

		other := sum
		other.Codec = reversed{}
		_, err = other.Call(t.Context(), p.client, sequence(nil, 1))
		requireCode(t, err, geminio.CodeInvalid, `request of "sum": json: encoded by another codec: "reversed"`)
		other.Register(&p.Server, summing)
		a, err := other.Call(t.Context(), p.client, sequence(nil, 1, 2))
		require.NoError(t, err)
		require.Equal(t, 3, a.N)

		never := typed.ServerStreaming[chan int, int]{Name: "never"}
		_, err = collect(never.Call(t.Context(), p.client, nil))
		requireData(t, err, `request of "never"`)
	})
}

// A peer without a Server refuses the stream, or does not accept it.
func TestStreamingWithoutServer(t *testing.T) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := collect(count.Call(ctx, client, question{}))
		require.Equal(t, context.DeadlineExceeded, err)

		stream, err := server.AcceptStream()
		require.NoError(t, err)
		assert.Equal(t, "typed/count", stream.Peer())
		go func() {
			stream, _ := server.AcceptStream()
			geminio.Reset(stream, codeQuota, "no streams")
		}()
		_, err = collect(count.Call(t.Context(), client, question{}))
		requireCode(t, err, codeQuota, "no streams")
		go func() {
			stream, _ := server.AcceptStream()
			stream.Close()
		}()
		_, err = collect(count.Call(t.Context(), client, question{}))
		require.Equal(t, io.ErrUnexpectedEOF, err)

		server.Close()
		_, err = collect(count.Call(t.Context(), client, question{}))
		require.Equal(t, io.EOF, err)
	})
}

// An item that is bad fails its call, and nothing else.
func TestBadItems(t *testing.T) {
	small := typed.ServerStreaming[question, string]{Name: "small", MaxItem: 100}
	large := typed.ServerStreaming[question, string]{Name: "small", MaxItem: 1000}
	numbers := typed.ServerStreaming[question, int]{Name: "small"}
	texts := typed.ClientStreaming[string, answer]{Name: "sum"}
	inStreams(t, func(t *testing.T, p *streamPair) {
		send := func(_ context.Context, q question, items *typed.Sender[string]) error {
			if err := items.Send(strings.Repeat("x", q.N)); err != nil {
				return err
			}
			return items.Send("last")
		}
		small.Register(&p.Server, send)
		all, err := collect(small.Call(t.Context(), p.client, question{N: 98})) // 2 for the quotes
		require.NoError(t, err)
		require.Len(t, all, 2)
		_, err = collect(small.Call(t.Context(), p.client, question{N: 99}))
		requireCode(t, err, geminio.CodeTooLarge, "item: too large: 101 exceeds 100")
		require.ErrorIs(t, err, geminio.ErrTooLarge)

		large.Register(&p.Server, send)
		_, err = collect(small.Call(t.Context(), p.client, question{N: 99}))
		var limit *geminio.LimitError
		require.ErrorAs(t, err, &limit)
		require.ErrorIs(t, err, geminio.ErrTooLarge)

		_, err = collect(numbers.Call(t.Context(), p.client, question{}))
		requireData(t, err, `item of "small": json: json: cannot unmarshal string`)

		_, err = texts.Call(t.Context(), p.client, sequence(nil, "text"))
		requireCode(t, err, geminio.CodeInvalid, `item of "sum": json: json: cannot unmarshal string`)
		_, err = sum.Call(t.Context(), p.client, sequence(nil, 1, 2))
		require.NoError(t, err)
	})
}

// A peer that does not keep to the format of a streaming call gets an error, and the other calls go
// on.
func TestMalformedCalls(t *testing.T) {
	inStreams(t, func(t *testing.T, p *streamPair) {
		opt := options.OpenStream()
		opt.SetPeer("typed/sum")
		for _, c := range []struct {
			bytes string
			code  geminio.Code
		}{
			{"\x00\x00\x00\x011\x00\x00\x00\x012", geminio.CodeOK},
			{"\x00\x00", geminio.CodeApplication},
			{"\x00\x00\x00\x09123", geminio.CodeApplication},
			{"\xff\xff\xff\xff1", geminio.CodeTooLarge},
			{"\x00\x00\x00\x00", geminio.CodeInvalid},
		} {
			s, err := p.client.OpenStream(opt)
			require.NoError(t, err)
			_, err = io.ReadFull(s, make([]byte, 1))
			require.NoError(t, err)
			s.Write([]byte(c.bytes))
			require.NoError(t, geminio.CloseWrite(s))
			resp, err := s.Call(t.Context(), "sum", s.NewRequest(nil))
			if c.code == geminio.CodeOK {
				require.NoError(t, err)
				require.JSONEq(t, `{"text":"","n":3}`, string(resp.Data()))
			} else {
				requireCode(t, err, c.code, "")
			}
			_, err = s.Call(t.Context(), "sum", s.NewRequest(nil))
			requireCode(t, err, geminio.CodeLimit, "the stream has its call")
			s.Close()
		}

		// A handler that is not one of this package.
		go func() {
			for s, err := p.client.AcceptStream(); err == nil; s, err = p.client.AcceptStream() {
				s.Hijack(func(context.Context, string, geminio.Request, geminio.Response) {})
				s.Write([]byte{0})
			}
		}()
		_, err := collect(count.Call(t.Context(), p.server, question{}))
		requireData(t, err, "the answer is not one of a streaming call")
	})
}

// Streaming calls pass the check of registered methods, and middleware of calls applies to them.
func TestStreamingIsACall(t *testing.T) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetRemoteRPCCheck()
	so.SetMiddleware(func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			switch values := metadata.ValueFromIncomingContext(ctx, "token"); {
			case len(values) == 0:
				resp.SetError(quotaError{})
			case values[0] == "swallow": // no error, and no call of next
			default:
				next(ctx, req, resp)
			}
		}
	})
	inStreams(t, func(t *testing.T, p *streamPair) {
		var got metadata.MD
		var end geminio.End
		watch.Register(&p.Server, func(ctx context.Context, _ question, items *typed.Sender[answer]) error {
			got, _ = metadata.FromIncomingContext(ctx)
			end, _ = geminio.EndFrom(ctx)
			return nil
		})
		ctx := metadata.AppendToOutgoingContext(t.Context(), "token", "7f")
		_, err := collect(watch.Call(ctx, p.client, question{}))
		require.NoError(t, err)
		assert.Equal(t, metadata.Pairs("token", "7f"), got)
		assert.True(t, end == p.server)

		_, err = collect(watch.Call(t.Context(), p.client, question{}))
		requireCode(t, err, codeQuota, "over the quota")
		_, err = sum.Call(t.Context(), p.client, sequence(nil, 1))
		requireCode(t, err, codeQuota, "over the quota")
		ctx = metadata.AppendToOutgoingContext(t.Context(), "token", "swallow")
		_, err = collect(watch.Call(ctx, p.client, question{}))
		requireData(t, err, "the answer is not one of a streaming call")
	}, &geminiotest.PairOptions{Client: co, Server: so})
}

// Streaming calls of both directions, and other streams, live beside each other.
func TestServersBesideOtherStreams(t *testing.T) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		var s typed.Server
		count.Register(&s, counting)
		listener := s.Listener(server)
		go s.Serve(client, func(stream geminio.Stream) {
			stream.Write([]byte("of the client"))
			stream.Close()
		})
		go func() {
			for {
				nc, err := listener.Accept()
				if err != nil {
					return
				}
				nc.Write([]byte("of the server"))
				nc.Close()
			}
		}()
		for end, want := range map[geminio.End]string{client: "of the server", server: "of the client"} {
			all, err := collect(count.Call(t.Context(), end, question{N: 2}))
			require.NoError(t, err)
			require.Len(t, all, 2)
			stream, err := end.OpenStream()
			require.NoError(t, err)
			got, err := io.ReadAll(stream)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
			stream.Close()
		}
		require.NoError(t, listener.Close())
		_, err := listener.Accept()
		require.Equal(t, io.EOF, err)
		require.Implements(t, (*net.Listener)(nil), listener)
	})
}

// The end of the connection ends a streaming call at both sides.
func TestConnectionEnds(t *testing.T) {
	for name, end := range map[string]func(p *streamPair, n *geminiotest.Network){
		"cut":              func(_ *streamPair, n *geminiotest.Network) { n.Cut() },
		"closed by client": func(p *streamPair, _ *geminiotest.Network) { p.client.Close() },
		"closed by server": func(p *streamPair, _ *geminiotest.Network) { p.server.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := geminiotest.NewNetwork(t)
				client, server := geminiotest.Pair(t, &geminiotest.PairOptions{Network: n})
				p := &streamPair{client: client, server: server, ended: make(chan error, 1)}
				p.registerWatch()
				go p.Serve(server, nil)
				all := 0
				var last error
				for _, err := range watch.Call(t.Context(), client, question{}) {
					if last = err; err == nil {
						all++
						end(p, n)
					}
				}
				require.Equal(t, 1, all)
				require.Error(t, last)
				require.NotEqual(t, io.EOF, last)
				require.Error(t, <-p.ended)
			})
		})
	}
}

// Over Ends that reconnect, a streaming call survives a cut if its session does. Otherwise its
// stream ends with an error, and the next call succeeds.
func TestStreamingReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := geminiotest.NewNetwork(t)
		var s typed.Server
		ticks := typed.ServerStreaming[question, int]{Name: "ticks"}
		ticks.Register(&s, func(_ context.Context, _ question, items *typed.Sender[int]) (err error) {
			for i := 0; err == nil; i++ {
				err = items.Send(i)
				time.Sleep(time.Second)
			}
			return err
		})
		start := func() server.Listener {
			l, err := server.NewListener(n.Listen())
			require.NoError(t, err)
			go func() {
				for {
					end, err := l.AcceptEnd()
					if err != nil {
						return
					}
					go s.Serve(end, nil)
				}
			}()
			return l
		}
		l := start()
		opt := client.NewEndOptions()
		opt.SetRetryBackoff(time.Second, time.Second)
		end, err := client.NewRetryEndWithDialer(n.Dial, opt)
		require.NoError(t, err)
		defer end.Close()

		next := 0
		var last error
		for i, err := range ticks.Call(t.Context(), end, question{}) {
			if last = err; err != nil {
				break
			}
			require.Equal(t, next, i, "an item is missing")
			switch next++; next {
			case 3:
				require.Equal(t, 1, n.Cut())
			case 6:
				l.Close()
				n.Cut()
				l = start()
			}
		}
		require.Error(t, last, "the server does not know the session")
		require.Equal(t, 6, next)
		for _, err := range ticks.Call(t.Context(), end, question{}) {
			require.NoError(t, err)
			break
		}
		end.Close()
		l.Close()
		time.Sleep(5 * time.Second) // until the handlers have noticed
	})
}

// A window bounds the memory of both sides, however slow the consumer is.
func TestSlowConsumer(t *testing.T) {
	const itemSize, items, window = 64 << 10, 100, 1 << 20
	so, co := server.NewEndOptions(), client.NewEndOptions()
	co.SetBufferSize(window/4096, 64)
	so.SetBufferSize(64, window/4096)
	inStreams(t, func(t *testing.T, p *streamPair) {
		sent := 0
		bulk := typed.ServerStreaming[question, string]{Name: "bulk"}
		bulk.Register(&p.Server, func(_ context.Context, _ question, out *typed.Sender[string]) error {
			for range items {
				if err := out.Send(strings.Repeat("x", itemSize-2)); err != nil {
					return err
				}
				sent++
			}
			return nil
		})
		received := 0
		for item, err := range bulk.Call(t.Context(), p.client, question{}) {
			require.NoError(t, err)
			require.Len(t, item, itemSize-2)
			received++
			synctest.Wait() // the handler sends as much as it can
			require.LessOrEqual(t, (sent-received)*itemSize, 2*window+itemSize, "bytes that the caller has not taken")
		}
		require.Equal(t, items, received)
	}, &geminiotest.PairOptions{Client: co, Server: so})
}

// Items of all sizes arrive unchanged.
func TestItemsOfAllSizes(t *testing.T) {
	bytesBack := typed.Bidirectional[[]byte, []byte]{Name: "bytes"}
	inStreams(t, func(t *testing.T, p *streamPair) {
		bytesBack.Register(&p.Server, func(_ context.Context, c *typed.Conversation[[]byte, []byte]) error {
			for b, err := range c.All() {
				if err = errors.Join(err, c.Send(b)); err != nil {
					return err
				}
			}
			return nil
		})
		c, err := bytesBack.Call(t.Context(), p.client)
		require.NoError(t, err)
		defer c.Close()
		for _, n := range []int{0, 1, 100, 48 << 10, 48<<10 + 1, 100 << 10, 1 << 20, 10, 3<<20 - 100} {
			want := bytes.Repeat([]byte{byte(n)}, n)
			sent := make(chan error, 1)
			go func() { sent <- c.Send(want) }()
			got, err := c.Receive()
			require.NoError(t, err)
			require.NoError(t, <-sent)
			require.True(t, bytes.Equal(want, got))
		}
	})
}
