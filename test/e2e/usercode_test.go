package e2e

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// misdeeds are the ways in which functions of a user fail to return normally.
var misdeeds = map[string]func() error{
	"panics":                func() error { panic("oops") },
	"exits":                 func() error { runtime.Goexit(); return nil },
	"returns a typed nil":   func() error { return (*quota)(nil) },
	"returns a mean error":  func() error { return isPanicsError{} },
	"returns an odd unwrap": func() error { return unwrapPanicsError{} },
}

// isPanicsError has an Is method that panics.
type isPanicsError struct{}

func (isPanicsError) Error() string { return "mean" }
func (isPanicsError) Is(error) bool { panic("oops") }

// unwrapPanicsError has an Unwrap method that panics.
type unwrapPanicsError struct{}

func (unwrapPanicsError) Error() string { return "odd" }
func (unwrapPanicsError) Unwrap() error { panic("oops") }

// faultyUser has the functions of a user. One call of one of them is faulty.
type faultyUser struct {
	*delegate.UnimplementedDelegate
	calls chan string // the names of the functions, in the order of their calls

	mu     sync.Mutex
	faulty string // the name of the function whose next call is faulty; "": none
	fault  func() error
}

func newFaultyUser(what string, how func() error) *faultyUser {
	return &faultyUser{calls: make(chan string, 10_000), faulty: what, fault: how}
}

// failNext makes the next call of the named function faulty.
func (w *faultyUser) failNext(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faulty = what
}

// clearCalls empties calls.
func (w *faultyUser) clearCalls() {
	for len(w.calls) > 0 {
		<-w.calls
	}
}

// done reports whether the faulty call has happened.
func (w *faultyUser) done() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.faulty == ""
}

// call records a call of the named function, and is faulty if the call is.
func (w *faultyUser) call(name string) error {
	w.calls <- name
	w.mu.Lock()
	bad := w.faulty == name
	if bad {
		w.faulty = ""
	}
	w.mu.Unlock()
	if bad {
		return w.fault()
	}
	return nil
}

// await waits for a call of the named function.
func (w *faultyUser) await(t *testing.T, name string) {
	t.Helper()
	for kit.Await(t, kit.Forever, name, w.calls) != name {
	}
}

func (w *faultyUser) ConnOnline(delegate.ConnDescriber) error    { return w.call("ConnOnline") }
func (w *faultyUser) ConnOffline(delegate.ConnDescriber) error   { return w.call("ConnOffline") }
func (w *faultyUser) Heartbeat(delegate.ConnDescriber) error     { return w.call("Heartbeat") }
func (w *faultyUser) GetClientID(uint64, []byte) (uint64, error) { return 0, w.call("GetClientID") }
func (w *faultyUser) DialogueOnline(delegate.DialogueDescriber) error {
	return w.call("DialogueOnline")
}
func (w *faultyUser) DialogueOffline(delegate.DialogueDescriber) error {
	return w.call("DialogueOffline")
}
func (w *faultyUser) RemoteRegistration(string, uint64, uint64) { w.call("RemoteRegistration") }
func (w *faultyUser) EndReOnline(delegate.ClientDescriber)      { w.call("EndReOnline") }
func (w *faultyUser) acceptStream(geminio.Stream)               { w.call("AcceptStreamFunc") }
func (w *faultyUser) closedStream(geminio.Stream)               { w.call("ClosedStreamFunc") }
func (w *faultyUser) retryFailed(error)                         { w.call("RetryFailedFunc") }
func (w *faultyUser) NewPacketID() uint64                       { w.call("NewPacketID"); return 1 }

// wantPanicCode requires a refusal with CodePanic.
func wantPanicCode(t *testing.T, err error) {
	t.Helper()
	var refused *geminio.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, geminio.CodePanic, refused.Code, refused.Text)
	require.NotContains(t, refused.Text, "oops", "the text must not contain the value of the panic")
}

// A faulty function of the user of a server costs its own client or stream. Other clients and
// streams continue, all callbacks are called, and the id of the client is free again.
func TestServerSurvivesItsUser(t *testing.T) {
	closeStream := func(t *testing.T, end geminio.End, _ bool) {
		s, err := end.OpenStream()
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	for what, test := range map[string]func(t *testing.T, end geminio.End, threw bool){
		"GetClientID": nil, // the client is refused
		"ConnOnline":  nil,
		"ConnOffline": func(t *testing.T, end geminio.End, _ bool) { end.Close() },
		"Heartbeat":   func(*testing.T, geminio.End, bool) {},
		"RemoteRegistration": func(t *testing.T, end geminio.End, _ bool) {
			for range 3 { // each needs credit
				mustRegister(t, end, "mine", rig.Echo)
			}
		},
		"DialogueOnline": func(t *testing.T, end geminio.End, _ bool) {
			_, err := end.OpenStream()
			wantPanicCode(t, err)
		},
		"AcceptStreamFunc": func(t *testing.T, end geminio.End, threw bool) {
			s, err := end.OpenStream()
			require.NoError(t, err)
			if threw {
				_, err = s.Read(make([]byte, 1))
				var reset *geminio.StreamError
				require.ErrorAs(t, err, &reset)
				require.Equal(t, geminio.CodePanic, reset.Code)
			}
			s.Close()
		},
		"DialogueOffline":  closeStream,
		"ClosedStreamFunc": closeStream,
	} {
		for how, misdeed := range misdeeds {
			inBubble(t, what+" "+how, func(t *testing.T) {
				w := newFaultyUser(what, misdeed)
				so := server.NewEndOptions()
				so.SetDelegate(w)
				so.SetAcceptStreamFunc(w.acceptStream)
				so.SetClosedStreamFunc(w.closedStream)
				so.SetDuplicateID(server.DuplicateRefused)
				so.SetMaxHandlers(1)
				so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: rig.Echo})
				pipes := kit.NewPipeListener()
				l, err := server.NewListener(pipes, so)
				require.NoError(t, err)
				defer l.Close()
				co := client.NewEndOptions()
				co.SetClientID(7)
				co.SetHeartbeat(time.Second)
				end, err := client.NewEndWithDialer(pipes.Dial, co)
				if test == nil {
					wantPanicCode(t, err)
				} else {
					require.NoError(t, err)
					mustCall(t, end, "echo", "hello")
					test(t, end, how == "panics" || how == "exits")
					w.await(t, what)
					end.Close()
				}
				synctest.Wait()
				w.clearCalls()
				end, err = client.NewEndWithDialer(pipes.Dial, co)
				require.NoError(t, err)
				defer end.Close()
				w.await(t, "ConnOnline")
				w.await(t, "Heartbeat")
				mustCall(t, end, "echo", "hello")
				mustRegister(t, end, "mine", rig.Echo)
				w.await(t, "RemoteRegistration")
				s, err := end.OpenStream()
				require.NoError(t, err)
				w.await(t, "DialogueOnline")
				w.await(t, "AcceptStreamFunc")
				s.Close()
				w.await(t, "DialogueOffline")
				w.await(t, "ClosedStreamFunc")
				end.Close()
				w.await(t, "ConnOffline")
			})
		}
	}
}

// inBubble runs a test in a bubble.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// A faulty function of the user of a RetryEnd costs its connection or stream.
func TestRetryEndSurvivesItsUser(t *testing.T) {
	for _, what := range []string{
		"ConnOnline", "ConnOffline", "EndReOnline", "RemoteRegistration", "DialogueOnline", "DialogueOffline",
		"RetryFailedFunc", "Dialer", "NewPacketID",
	} {
		for how, misdeed := range misdeeds {
			inBubble(t, what+" "+how, func(t *testing.T) { retryWith(t, what, misdeed) })
		}
	}
}

func retryWith(t *testing.T, what string, misdeed func() error) {
	so := server.NewEndOptions()
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: rig.Echo})
	pipes := kit.NewPipeListener()
	l, err := server.NewListener(pipes, so)
	require.NoError(t, err)
	defer l.Close()
	w := newFaultyUser("", misdeed)
	co := client.NewEndOptions()
	co.SetDelegate(w)
	co.SetPacketFactory(w)
	co.SetResumeKeep(0) // each cut makes a fresh connection
	co.SetRetryFailedFunc(w.retryFailed)
	var conn net.Conn
	var down atomic.Bool
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		if err := w.call("Dialer"); err != nil {
			return nil, err
		}
		if down.Load() {
			return nil, errDialerClosed
		}
		conn, err = pipes.Dial()
		return conn, err
	}, co)
	require.NoError(t, err)
	defer end.Close()
	far, err := l.AcceptEnd()
	require.NoError(t, err)
	use := func() {
		mustCall(t, end, "echo", "hello")
		mustRegister(t, far, "server's", rig.Echo)
		w.await(t, "RemoteRegistration")
		for s, err := far.OpenStream(); ; s, err = far.OpenStream() {
			if err == nil {
				s.Close()
				break
			}
			wantPanicCode(t, err)
		}
		w.await(t, "DialogueOffline")
	}
	use()
	w.failNext(what)
	if what != "NewPacketID" { // this goroutine would call it
		use()
	}
	down.Store(true)
	conn.Close()
	w.await(t, "RetryFailedFunc")
	w.await(t, "RetryFailedFunc")
	down.Store(false)
	w.await(t, "ConnOnline")
	w.await(t, "EndReOnline")
	synctest.Wait()
	for { // the last call belongs to the current connection
		if far, err = l.AcceptEnd(); err == nil {
			if _, err = far.Call(kit.Deadline(t), "x", far.NewRequest(nil)); err != io.EOF {
				break
			}
		}
	}
	use()
	require.True(t, w.done(), "the faulty call has not happened")
}

// The constructor of a plain End returns an error if a function of its user is faulty before it
// returns. After that the End continues.
func TestClientSurvivesItsUser(t *testing.T) {
	l := listen(t)
	defer l.Close()
	for how, misdeed := range misdeeds {
		t.Run(how, func(t *testing.T) {
			w := newFaultyUser("ConnOnline", misdeed)
			co := client.NewEndOptions()
			co.SetDelegate(w)
			_, err := dial(l.Addr().String(), co)
			require.Error(t, err)
			_, err = client.NewEndWithDialer(func() (net.Conn, error) { return nil, misdeed() }, co)
			require.Error(t, err)
			for _, what := range []string{"DialogueOnline", "DialogueOffline", "ConnOffline"} {
				w := newFaultyUser(what, misdeed)
				co.SetDelegate(w)
				end, err := dial(l.Addr().String(), co)
				require.NoError(t, err)
				for range 2 {
					s, err := end.OpenStream()
					require.NoError(t, err, "DialogueOnline runs when the stream is open already")
					w.await(t, "DialogueOnline")
					s.Close()
					w.await(t, "DialogueOffline")
				}
				end.Close()
				w.await(t, "ConnOffline")
			}
		})
	}
}

// A handler or receiver that answers with an error whose methods panic costs its own call or
// message.
func TestErrorsThatPanic(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		for how, misdeed := range misdeeds {
			fail := func(resp geminio.Response) { resp.SetError(misdeed()) }
			mustRegister(t, callee, "fail", func(_ context.Context, _ geminio.Request, resp geminio.Response) { fail(resp) })
			some := options.Hijack()
			some.SetMatch(true, "^hijacked$|^echo$")
			require.NoError(t, callee.Hijack(func(_ context.Context, method string, req geminio.Request, resp geminio.Response) {
				resp.SetData(req.Data())
				if method != "echo" {
					fail(resp)
				}
			}, some))
			for _, method := range []string{"fail", "hijacked"} {
				_, err := call(t, caller, method, "")
				var remote *geminio.RemoteError
				require.ErrorAs(t, err, &remote, how)
				require.Equal(t, geminio.CodePanic, remote.Code, "%s %s: %s", method, how, remote.Text)
			}
			mustCall(t, caller, "echo", "lives on")
			if how == "panics" || how == "exits" {
				continue
			}
			answered := kit.Start(func() error {
				m, err := callee.Receive(kit.Deadline(t))
				if err != nil {
					return err
				}
				return m.Error(misdeed())
			})
			err := caller.Publish(kit.Deadline(t), caller.NewMessage(nil))
			var remote *geminio.RemoteError
			require.ErrorAs(t, err, &remote, how)
			require.Equal(t, geminio.CodePanic, remote.Code, how)
			require.NoError(t, <-answered)
		}
	})
}

// faultyLogger is a slog.Handler whose methods are faulty.
type faultyLogger struct {
	slog.Handler
	how func() error
}

func (w faultyLogger) Enabled(context.Context, slog.Level) bool  { return w.how() == nil }
func (w faultyLogger) Handle(context.Context, slog.Record) error { return w.how() }

// A faulty logger loses its records, and has no other effect.
func TestLoggersThatMisbehave(t *testing.T) {
	for how, misdeed := range misdeeds {
		t.Run(how, func(t *testing.T) {
			so := server.NewEndOptions()
			so.SetLogger(slog.New(faultyLogger{slog.DiscardHandler, misdeed}))
			so.SetDelegate(newFaultyUser("ConnOffline", misdeeds["panics"]))
			l := listen(t, so)
			defer l.Close()
			for range 3 {
				nc, err := kit.DialRaw(l.Addr().String())
				require.NoError(t, err)
				_, err = io.WriteString(nc, strings.Repeat("no handshake\r\n\r\n", 8))
				require.NoError(t, err)
				io.Copy(io.Discard, nc)
				nc.Close()
				end, err := dial(l.Addr().String())
				require.NoError(t, err)
				far, err := l.AcceptEnd()
				require.NoError(t, err)
				mustRegister(t, far, "panic", func(context.Context, geminio.Request, geminio.Response) { panic("oops") })
				_, err = call(t, end, "panic", "")
				var remote *geminio.RemoteError
				require.True(t, errors.As(err, &remote) && remote.Code == geminio.CodePanic, "%v", err)
				end.Close()
			}
		})
	}
}

// The outcome of an operation whose channel the user has closed is lost. Other operations
// continue.
func TestClosedChannels(t *testing.T) {
	eachStream(t, func(t *testing.T, caller, callee geminio.Stream) {
		mustRegister(t, callee, "echo", rig.Echo)
		called := make(chan *geminio.Call)
		close(called)
		_, err := caller.CallAsync(kit.Deadline(t), "echo", caller.NewRequest(nil), called)
		require.NoError(t, err)
		published := make(chan *geminio.Publish)
		close(published)
		_, err = caller.PublishAsync(kit.Deadline(t), caller.NewMessage(nil), published)
		require.NoError(t, err)
		m, err := callee.Receive(kit.Deadline(t))
		require.NoError(t, err)
		require.NoError(t, m.Done())
		mustCall(t, caller, "echo", "lives on")
	})
}
