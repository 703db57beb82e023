package typed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/ctxkey"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
)

// call is a streaming call at the caller. A goroutine waits for the response; close ends it.
type call struct {
	*session
	bound  context.Context // of the caller, with the timeout of the options; ends session.ctx too
	cancel context.CancelFunc
	once   sync.Once     // closes
	done   chan struct{} // closed when the call has ended
	// Set before done is closed.
	resp geminio.Response
	err  error
}

// errNoStream is the error of a call that was answered by a handler without a session.
var errNoStream = errors.New("the answer is not one of a streaming call")

// open begins a streaming call. The caller of open must call close.
func open(ctx context.Context, end geminio.Multiplexer, c coder, limit int, data []byte, opts []*options.CallOptions) (*call, error) {
	bound, cancel := ctx, context.CancelFunc(func() {})
	if opt := options.MergeCallOptions(opts...); opt.Timeout != nil && *opt.Timeout > 0 {
		bound, cancel = context.WithTimeout(ctx, *opt.Timeout)
	}
	own, cancelOwn := context.WithCancel(bound)
	k := &call{bound: bound, cancel: func() { cancelOwn(); cancel() }, done: make(chan struct{})}
	opt := options.OpenStream()
	opt.SetPeer(peerPrefix + c.of)
	stream, err := geminio.OpenStreamContext(own, end, opt)
	if errors.Is(err, errors.ErrUnsupported) {
		stream, err = end.OpenStream(opt)
	}
	if err != nil {
		k.cancel()
		return nil, err
	}
	k.session = newSession(own, stream, c, limit)
	if _, err := k.r.r.ReadByte(); err != nil { // the peer is ready
		close(k.done)
		err = k.reason(atEOF(err))
		k.close(err)
		return nil, err
	}
	go k.wait(context.WithValue(c.outgoing(own), ctxkey.Unchecked{}, true), data)
	return k, nil
}

// wait calls the method, and waits for the response. Since it has a goroutine of its own, a
// CallMiddleware that panics or ends the goroutine becomes the error of the call.
func (k *call) wait(ctx context.Context, data []byte) {
	problem := "a CallMiddleware ended its goroutine"
	defer func() {
		if v := recover(); v != nil {
			problem = fmt.Sprintf("a CallMiddleware panicked: %v", v)
		}
		if problem != "" {
			k.resp, k.err = nil, &methodError{geminio.CodePanic, fmt.Sprintf("call of %q: %s", k.r.coder.of, problem)}
		}
		k.answered()
	}()
	k.resp, k.err = k.stream.Call(ctx, k.r.coder.of, k.stream.NewRequest(data))
	problem = ""
}

// answered is called when the call has its outcome.
func (k *call) answered() {
	orderly := k.resp != nil && len(metadata.From(k.resp).Get(endKey)) > 0
	if k.err == nil && !orderly {
		k.err = k.r.coder.fail("response", errNoStream)
	}
	close(k.done)
	if !orderly { // the peer may never end its bytes
		k.stream.SetDeadline(aLongTimeAgo)
	}
}

// receive receives an item. It returns io.EOF after the last one, if the handler has returned no
// error.
func (k *call) receive(v any) error {
	err := k.r.read(v)
	if err == nil || isOwn(err) {
		return err
	}
	return k.outcome(err)
}

// send sends an item. If the handler has returned no error, but reads no more, send returns io.EOF.
func (k *call) send(v any) error {
	select {
	case <-k.done:
		return k.outcome(io.EOF)
	default:
	}
	err := k.w.write(v)
	if err == nil || isOwn(err) {
		return err
	}
	var stopped *geminio.StreamError
	if errors.As(err, &stopped) && stopped.Remote {
		return k.outcome(io.EOF) // the handler returns
	}
	return k.outcome(err)
}

// outcome returns the error of the call after reading or writing has ended with err. For io.EOF,
// which says that the handler has returned, it waits for the response.
func (k *call) outcome(err error) error {
	if err != io.EOF {
		k.cancel() // does nothing if the call has ended
	}
	<-k.done
	var interrupted *geminio.InterruptedError
	switch {
	case err == io.EOF && k.err == nil:
		return io.EOF
	case k.err == nil || k.err == context.Canceled && err != io.EOF && k.bound.Err() == nil:
		return err
	case errors.As(k.err, &interrupted) && isReset(err):
		return k.reason(err)
	}
	return k.err
}

// isReset reports whether err says that the peer has reset the stream.
func isReset(err error) bool {
	var reset *geminio.StreamError
	return errors.As(err, &reset) && reset.Remote
}

// close ends the call. If the call has not ended, the handler learns why. A nil why says that the
// caller wants no more items.
func (k *call) close(why error) {
	k.once.Do(func() {
		k.stop()
		select {
		case <-k.done:
			k.stream.Close()
		default:
			reason := guard.Describe(slog.New(slog.DiscardHandler), leaving(why))
			geminio.Reset(k.stream, geminio.Code(reason.Code), reason.Text)
		}
		k.cancel()
		<-k.done
		k.stream.Close()
	})
}

// errLeft tells the handler that the caller wants no more items.
var errLeft = &methodError{geminio.CodeCanceled, "the caller has left"}

func leaving(why error) error {
	if why == nil {
		return errLeft
	}
	return why
}
