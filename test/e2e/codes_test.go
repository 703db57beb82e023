package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// quota is an error of an application with a code of its own.
type quota struct{ left int }

const codeQuota = geminio.FirstApplicationCode + 7

func (q *quota) Error() string    { return fmt.Sprintf("%d left", q.left) }
func (*quota) Code() geminio.Code { return codeQuota }

// chosen is an error that chooses any code.
type chosen geminio.Code

func (chosen) Error() string        { return "chosen" }
func (c chosen) Code() geminio.Code { return geminio.Code(c) }

// codes are errors of an application, and the codes with which the peer receives them.
var codes = []struct {
	name string
	err  error
	code geminio.Code
	is   error // the error that it matches at the peer; nil: none
}{
	{"its own", errors.New("no"), geminio.CodeApplication, nil},
	{"with a code", &quota{3}, codeQuota, nil},
	{"with a code, wrapped", fmt.Errorf("upload: %w", &quota{3}), codeQuota, nil},
	{"the first code, wrapped twice", fmt.Errorf("a: %w", fmt.Errorf("b: %w", chosen(geminio.FirstApplicationCode))), geminio.FirstApplicationCode, nil},
	{"the largest code, chosen", chosen(1<<32 - 1), 1<<32 - 1, nil},
	{"no code, chosen", chosen(geminio.CodeOK), geminio.CodeApplication, nil},
	{"a reserved code, chosen", chosen(geminio.FirstApplicationCode - 1), geminio.CodeApplication, nil},
	{"a code of connections, chosen", chosen(geminio.CodeGoingAway), geminio.CodeApplication, nil},
	{"a code of calls, chosen", chosen(geminio.CodeLimit), geminio.CodeLimit, geminio.ErrTooMany},
	{"the second of two", errors.Join(errors.New("first"), chosen(1234)), 1234, nil},
	{"the largest code", &geminio.RemoteError{Code: 1<<32 - 1, Text: "x"}, 1<<32 - 1, nil},
	{"of another peer", &geminio.RemoteError{Code: geminio.CodeNoMethod, Text: "no such rpc: x"}, geminio.CodeNoMethod, nil},
	{"of another peer, wrapped", fmt.Errorf("backend: %w", &geminio.RemoteError{Code: codeQuota, Text: "x"}), codeQuota, nil},
	{"a deadline", context.DeadlineExceeded, geminio.CodeDeadline, context.DeadlineExceeded},
	{"a deadline, wrapped", fmt.Errorf("db: %w", context.DeadlineExceeded), geminio.CodeDeadline, context.DeadlineExceeded},
	{"canceled, wrapped", fmt.Errorf("db: %w", context.Canceled), geminio.CodeCanceled, context.Canceled},
	{"too many, wrapped", fmt.Errorf("db: %w", geminio.ErrTooMany), geminio.CodeLimit, geminio.ErrTooMany},
}

func TestCodesOfResponses(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		for _, c := range codes {
			mustRegister(t, callee, "fail", func(_ context.Context, req geminio.Request, resp geminio.Response) {
				resp.SetData(req.Data())
				resp.SetCustom(req.Custom())
				resp.SetError(c.err)
			})
			opt := options.NewRequest()
			opt.SetCustom([]byte("custom"))
			resp, err := caller.Call(kit.Deadline(t), "fail", caller.NewRequest([]byte("data"), opt))
			require.Equal(t, &geminio.RemoteError{Code: c.code, Text: c.err.Error()}, err, c.name)
			require.Equal(t, err, resp.Error(), c.name)
			require.Equal(t, "data", string(resp.Data()), c.name)
			require.Equal(t, "custom", string(resp.Custom()), c.name)
			for _, target := range []error{context.DeadlineExceeded, context.Canceled, geminio.ErrTooMany} {
				require.Equal(t, target == c.is, errors.Is(err, target), "%s: %v", c.name, target)
			}
		}
	})
}

func TestCodesOfAcks(t *testing.T) {
	eachStream(t, func(t *testing.T, publisher, receiver geminio.Stream) {
		for _, c := range codes {
			answered := kit.Start(func() error {
				m, err := receiver.Receive(kit.Deadline(t))
				if err != nil {
					return err
				}
				return m.Error(c.err)
			})
			err := publisher.Publish(kit.Deadline(t), publisher.NewMessage([]byte("data")))
			require.Equal(t, &geminio.RemoteError{Code: c.code, Text: c.err.Error()}, err, c.name)
			require.NoError(t, <-answered)
		}
	})
}

// A program between two peers passes the error of the one on to the other.
func TestCodesThroughAProxy(t *testing.T) {
	front, back := rig.NewPair(t, "tcp", nil, nil), rig.NewPair(t, "tcp", nil, nil)
	require.NoError(t, front.Server.Hijack(func(ctx context.Context, method string, req geminio.Request, resp geminio.Response) {
		answer, err := back.Client.Call(ctx, method, back.Client.NewRequest(req.Data()))
		if answer != nil {
			resp.SetData(answer.Data())
			resp.SetCustom(answer.Custom())
		}
		resp.SetError(err)
	}))
	for _, c := range codes {
		mustRegister(t, back.Server, "fail", func(_ context.Context, req geminio.Request, resp geminio.Response) {
			resp.SetData(req.Data())
			resp.SetError(c.err)
		})
		got, err := call(t, front.Client, "fail", "data")
		require.Equal(t, &geminio.RemoteError{Code: c.code, Text: c.err.Error()}, err, c.name)
		require.Equal(t, "data", got, c.name)
	}
	_, err := call(t, front.Client, "nobody's", "")
	require.Equal(t, &geminio.RemoteError{Code: geminio.CodeNoMethod, Text: "no such rpc: nobody's"}, err)
	mustRegister(t, back.Server, "panic", func(context.Context, geminio.Request, geminio.Response) { panic("oops") })
	_, err = call(t, front.Client, "panic", "")
	require.Equal(t, &geminio.RemoteError{Code: geminio.CodePanic, Text: `panic in handler of "panic": oops`}, err)
}

func TestCodesOfRefusals(t *testing.T) {
	full := fmt.Errorf("wrapped: %w", &geminio.RefusedError{Code: geminio.CodeLimit, Text: "full", RetryAfter: time.Minute})
	for _, c := range []struct {
		err   error
		code  geminio.Code
		retry time.Duration
	}{
		{errors.New("no"), geminio.CodeApplication, 0},
		{fmt.Errorf("door: %w", &quota{0}), codeQuota, 0},
		{&geminio.RemoteError{Code: codeQuota, Text: "x"}, codeQuota, 0},
		{full, geminio.CodeLimit, time.Minute},
	} {
		want := &geminio.RefusedError{Code: c.code, Text: c.err.Error(), RetryAfter: c.retry}
		for name, refuse := range map[string]func(*recorder){
			"ConnOnline":  func(r *recorder) { r.refuseConn = c.err },
			"GetClientID": func(r *recorder) { r.refuseID = c.err },
		} {
			sd := newRecorder()
			refuse(sd)
			so := server.NewEndOptions()
			so.SetDelegate(sd)
			l := listen(t, so)
			_, err := dial(l.Addr().String())
			require.Equal(t, want, err, name)
			l.Close()
		}
		sd := newRecorder()
		sd.refuseDialogue = c.err
		so := server.NewEndOptions()
		so.SetDelegate(sd)
		p := rig.NewPair(t, "tcp", nil, so)
		_, err := p.Client.OpenStream()
		require.Equal(t, want, err, "DialogueOnline")

		cd := newRecorder()
		cd.refuseDialogue = c.err
		co := client.NewEndOptions()
		co.SetDelegate(cd)
		p = rig.NewPair(t, "tcp", co, nil)
		_, err = p.Server.OpenStream()
		require.Equal(t, want, err, "the error of NewEnd after the client's DialogueOnline failed")
		s, err := p.Client.OpenStream()
		require.NoError(t, err, "DialogueOnline runs when the own stream is open already")
		far, err := p.Server.AcceptStream()
		require.NoError(t, err)
		_, err = far.Read(make([]byte, 1))
		require.Equal(t, &geminio.StreamError{Code: c.code, Text: c.err.Error(), Remote: true}, err)
		s.Close()
	}
}

// An error of DialogueOnline refuses the stream and not the connection, even if it is an error
// about another connection.
func TestStreamRefusedWithACodeOfConnections(t *testing.T) {
	sd := newRecorder()
	sd.refuseDialogue = &geminio.RefusedError{Code: geminio.CodeGoingAway, Text: "the backend shuts down"}
	so := server.NewEndOptions()
	so.SetDelegate(sd)
	l := listen(t, so)
	defer l.Close()
	w := &breakableDialer{address: l.Addr().String()}
	end, err := client.NewRetryEndWithDialer(w.dial)
	require.NoError(t, err)
	defer end.Close()
	kit.Within(t, kit.Forever, "OpenStream", func() {
		_, err = end.OpenStream()
	})
	require.Equal(t, &geminio.RefusedError{Code: geminio.CodeApplication, Text: "the backend shuts down"}, err)
}

// A call after its deadline fails with context.DeadlineExceeded, whatever its handler answers
// at the same deadline.
func TestDeadlinesThatMeet(t *testing.T) {
	const calls = 1000
	handlers := map[string]func(ctx context.Context, resp geminio.Response){
		"its context's error": func(ctx context.Context, resp geminio.Response) { resp.SetError(ctx.Err()) },
		"that, wrapped":       func(ctx context.Context, resp geminio.Response) { resp.SetError(fmt.Errorf("db: %w", ctx.Err())) },
		"an error of its own": func(_ context.Context, resp geminio.Response) { resp.SetError(errors.New("gave up")) },
		"nothing":             func(context.Context, geminio.Response) {},
	}
	for _, network := range []string{"bubble", "tcp"} {
		run := func(t *testing.T) {
			p := rig.NewPair(t, map[string]string{"bubble": "pipe", "tcp": "tcp"}[network], nil, nil)
			defer p.Close()
			require.NoError(t, p.Server.Hijack(func(ctx context.Context, method string, _ geminio.Request, resp geminio.Response) {
				<-ctx.Done()
				handlers[method](ctx, resp)
			}))
			var all sync.WaitGroup
			for method := range handlers {
				for i := range calls / 4 {
					all.Go(func() {
						var err error
						timeout := time.Duration(1+i%4) * time.Millisecond
						req := p.Client.NewRequest(nil)
						switch i % 3 {
						case 0:
							ctx, cancel := context.WithTimeout(t.Context(), timeout)
							defer cancel()
							_, err = p.Client.Call(ctx, method, req)
						case 1:
							req.SetTimeout(timeout)
							_, err = p.Client.Call(t.Context(), method, req)
						case 2:
							req.SetTimeout(timeout)
							var c *geminio.Call
							if c, err = p.Client.CallAsync(t.Context(), method, req, nil); err == nil {
								err = (<-c.Done).Error
							}
						}
						assert.ErrorIs(t, err, context.DeadlineExceeded, method)
					})
				}
			}
			all.Wait()
		}
		if network == "bubble" {
			inBubble(t, network, run)
		} else {
			t.Run(network, run)
		}
	}
}
