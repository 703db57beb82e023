package typed_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/typed"
)

var ask = typed.Method[question, answer]{Name: "ask"}

// upper answers with the text in upper case.
func upper(_ context.Context, q question) (answer, error) {
	if q.Text == "" {
		return answer{}, quotaError{}
	}
	return answer{Text: strings.ToUpper(q.Text), N: q.N + 1}, nil
}

func TestMethod(t *testing.T) {
	for name, codec := range map[string]typed.Codec{"default": nil, "JSON": typed.JSON, "other": reversed{}} {
		t.Run(name, func(t *testing.T) {
			inPair(t, func(t *testing.T, client, server geminio.End) {
				ask := ask
				ask.Codec = codec
				for from, to := range map[geminio.End]geminio.End{client: server, server: client} {
					require.NoError(t, ask.Register(t.Context(), to, upper))
					a, err := ask.Call(t.Context(), from, question{Text: "hello", N: 4})
					require.NoError(t, err)
					require.Equal(t, answer{Text: "HELLO", N: 5}, a)
					_, err = ask.Call(t.Context(), from, question{})
					requireCode(t, err, codeQuota, "over the quota")
				}
			})
		})
	}
}

func TestMethodOfOptions(t *testing.T) {
	so := server.NewEndOptions()
	so.SetRegisterLocalRPCs(ask.Handler(upper))
	inPair(t, func(t *testing.T, client, _ geminio.End) {
		a, err := ask.Call(t.Context(), client, question{Text: "hello"})
		require.NoError(t, err)
		require.Equal(t, "HELLO", a.Text)
	}, &geminiotest.PairOptions{Server: so})
}

func TestMethodOnStream(t *testing.T) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		near, err := client.OpenStream()
		require.NoError(t, err)
		far, err := server.AcceptStream()
		require.NoError(t, err)
		require.NoError(t, ask.Register(t.Context(), far, upper))
		a, err := ask.Call(t.Context(), near, question{Text: "hello"})
		require.NoError(t, err)
		require.Equal(t, "HELLO", a.Text)
	})
}

func TestMethodTimeout(t *testing.T) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		require.NoError(t, ask.Register(t.Context(), server, func(ctx context.Context, _ question) (answer, error) {
			<-ctx.Done()
			return answer{}, ctx.Err()
		}))
		opt := options.Call()
		opt.SetTimeout(time.Hour)
		start := time.Now()
		_, err := ask.Call(t.Context(), client, question{}, opt)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Hour, time.Since(start))
	})
}

// A fault in the data fails its call, and the connection goes on.
func TestMethodFaults(t *testing.T) {
	raw := func(data string) geminio.RPC {
		return func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetData([]byte(data)) }
	}
	inPair(t, func(t *testing.T, client, server geminio.End) {
		ctx := t.Context()
		require.NoError(t, ask.Register(ctx, server, upper))
		for _, bad := range []string{``, `{"text":`, `{"text":7}`, `[]`, `{} {}`} {
			_, err := client.Call(ctx, "ask", client.NewRequest([]byte(bad)))
			requireCode(t, err, geminio.CodeInvalid, `request of "ask": json: `)
		}
		resp, err := client.Call(ctx, "ask", client.NewRequest([]byte(`{"text":"a","more":1}`)))
		require.NoError(t, err, "unknown fields are left out")
		require.JSONEq(t, `{"text":"A","n":1}`, string(resp.Data()))
		require.Nil(t, metadata.From(resp), "JSON is not named")

		for _, bad := range []string{``, `{"text":7}`} {
			require.NoError(t, server.Register(ctx, "ask", raw(bad)))
			a, err := ask.Call(ctx, client, question{Text: "hello"})
			requireData(t, err, `response of "ask": json: `)
			require.Zero(t, a.Text)
		}

		never := typed.Method[chan int, answer]{Name: "never"}
		_, err = never.Call(ctx, client, nil)
		requireData(t, err, `request of "never": json: json: unsupported type: chan int`)
		unsendable := typed.Method[question, func()]{Name: "unsendable"}
		require.NoError(t, unsendable.Register(ctx, server, func(context.Context, question) (func(), error) { return nil, nil }))
		_, err = unsendable.Call(ctx, client, question{})
		requireCode(t, err, geminio.CodeInvalid, `response of "unsendable"`)

		err = ask.Register(ctx, server, nil)
		require.Error(t, err)
		require.NoError(t, ask.Register(ctx, server, upper))
		_, err = ask.Call(ctx, client, question{Text: "hello"})
		require.NoError(t, err)
	})
}

func TestMethodTooLarge(t *testing.T) {
	so := server.NewEndOptions()
	so.SetMaxMessageSize(1 << 16)
	inPair(t, func(t *testing.T, client, server geminio.End) {
		require.NoError(t, ask.Register(t.Context(), server, upper))
		_, err := ask.Call(t.Context(), client, question{Text: strings.Repeat("x", 1<<17)})
		require.ErrorIs(t, err, geminio.ErrTooLarge)
	}, &geminiotest.PairOptions{Server: so})
}

func TestMethodOfAnotherCodec(t *testing.T) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		ctx := t.Context()
		other := ask
		other.Codec = reversed{}
		require.NoError(t, ask.Register(ctx, server, upper))
		_, err := other.Call(ctx, client, question{Text: "hello"})
		requireCode(t, err, geminio.CodeInvalid, `request of "ask": json: encoded by another codec: "reversed"`)
		require.NoError(t, other.Register(ctx, server, upper))
		_, err = ask.Call(ctx, client, question{Text: "hello"})
		requireCode(t, err, geminio.CodeInvalid, `request of "ask": reversed: encoded by another codec: "json"`)

		// An answer of a handler that does not look at the name of the request.
		require.NoError(t, server.Register(ctx, "ask", func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
			metadata.SetOutgoing(ctx, metadata.Pairs("content-type", "gob"))
		}))
		_, err = ask.Call(ctx, client, question{Text: "hello"})
		requireData(t, err, `response of "ask": json: encoded by another codec: "gob"`)
		require.ErrorIs(t, err, typed.ErrCodec)
	})
}

// The metadata of the user passes beside that of the codec.
func TestMethodWithMetadata(t *testing.T) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		other := ask
		other.Codec = reversed{}
		var got metadata.MD
		require.NoError(t, other.Register(t.Context(), server, func(ctx context.Context, q question) (answer, error) {
			got, _ = metadata.FromIncomingContext(ctx)
			end, ok := geminio.EndFrom(ctx)
			assert.True(t, ok && end == server)
			return answer{}, nil
		}))
		_, err := other.Call(metadata.AppendToOutgoingContext(t.Context(), "trace", "7f"), client, question{})
		require.NoError(t, err)
		require.Equal(t, metadata.Pairs("trace", "7f", "content-type", "reversed"), got)
	})
}

func TestMethodThatPanics(t *testing.T) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		require.NoError(t, ask.Register(t.Context(), server, func(context.Context, question) (answer, error) { panic("oops") }))
		_, err := ask.Call(t.Context(), client, question{})
		requireCode(t, err, geminio.CodePanic, "oops")
	})
}
