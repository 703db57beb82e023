package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// A blocked operation returns when its stream, its End, the other End or the connection ends.
// Its error says which of them ended.

// blockedOps is a pair of Ends on which operations of the client block.
type blockedOps struct {
	*rig.Pair
	credit       map[messageKind]int
	stream, peer geminio.Stream // of the client and of the server
	refused      chan struct{}  // closed to let the delegate of the server answer
	release      func()
	entered      chan string // the data of the requests whose handlers the server has started
}

// slowDelegate does not answer OpenStream of streams with a meta.
type slowDelegate struct {
	*delegate.UnimplementedDelegate
	answer chan struct{}
}

func (d *slowDelegate) DialogueOnline(v delegate.DialogueDescriber) error {
	if len(v.Meta()) > 0 {
		<-d.answer
	}
	return nil
}

// handlerLimit is the number of handlers of the server. A stream may use three quarters.
const handlerLimit = 64

// newBlocked returns a pair of Ends over a network. The credit is nil in a bubble, and else the
// result of countCredit.
func newBlocked(t *testing.T, network string, budget int, credit map[messageKind]int) *blockedOps {
	f := &blockedOps{credit: credit, refused: make(chan struct{}), entered: make(chan string, 2*handlerLimit)}
	f.release = sync.OnceFunc(func() { close(f.refused) })
	so := server.NewEndOptions()
	so.SetDelegate(&slowDelegate{answer: f.refused})
	so.SetMaxHandlers(handlerLimit)
	co := client.NewEndOptions()
	co.SetLinger(time.Second)
	so.SetLinger(time.Second)
	so.SetMaxMessageSize(largeMessage)
	so.SetMemoryBudget(budget)
	f.Pair = rig.NewPair(t, network, co, so)
	t.Cleanup(f.release)
	f.stream, f.peer = rig.OpenStream(t, f.Client, f.Server)
	for _, s := range []geminio.Stream{f.peer, f.Server} {
		require.NoError(t, s.Register(kit.Deadline(t), "hang", func(ctx context.Context, req geminio.Request, _ geminio.Response) {
			f.entered <- string(req.Data())
			<-ctx.Done()
		}))
	}
	return f
}

// call starts a call that its handler does not answer, and returns when the
// handler runs.
func (f *blockedOps) call(t *testing.T, s geminio.Stream, name string) <-chan error {
	done := kit.Start(func() error {
		_, err := s.Call(context.Background(), "hang", s.NewRequest([]byte(name)))
		return err
	})
	kit.Await(t, kit.Forever, "the start of the handler", f.entered)
	return done
}

// useHandlersUp makes calls until the credit for requests is used up.
func (f *blockedOps) useHandlersUp(t *testing.T, s geminio.Stream) {
	for range handlerLimit * 3 / 4 {
		go s.Call(context.Background(), "hang", s.NewRequest(nil))
		kit.Await(t, kit.Forever, "the start of the handler", f.entered)
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, err := s.Call(ctx, "hang", s.NewRequest(nil))
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		select {
		case <-f.entered: // the handler was started, and has returned since
		default:
			return
		}
	}
}

// wantedResult is the error that a blocked operation must return.
type wantedResult struct {
	exactly error   // if not nil: this error
	oneOf   []error // or an error that matches one of these
	byPeer  error   // or an error that matches this one, if the peer has closed the stream; nil: none
	broken  error   // instead of all others, if the connection has broken; nil: the same as the others
}

var (
	wantEOF   = wantedResult{exactly: io.EOF}
	wantBytes = wantedResult{exactly: io.EOF, broken: geminio.ErrConnectionLost}
	wantMaybe = wantedResult{oneOf: []error{geminio.ErrMaybeExecuted}}
	wantNot   = wantedResult{oneOf: []error{geminio.ErrNotExecuted}}
	// wantFreed is the result of a call that waits for handlers of the same stream. If the
	// peer closes the stream, their credit may arrive before the close and let the call go.
	wantFreed = wantedResult{oneOf: []error{geminio.ErrNotExecuted}, byPeer: geminio.ErrMaybeExecuted}
	wantPipe  = wantedResult{oneOf: []error{io.ErrClosedPipe, net.ErrClosed}}
	wantNil   = wantedResult{}
	// wantAbout is the result of an operation that may or may not have been sent.
	wantAbout = wantedResult{oneOf: []error{geminio.ErrMaybeExecuted, geminio.ErrNotExecuted}}
)

// check compares err with w. If late is true, the operation may have begun after the end.
func (w wantedResult) check(err error, late bool, how endingEvent) error {
	if how.byPeer && w.byPeer != nil && errors.Is(err, w.byPeer) {
		return nil
	}
	if how.breaks && w.broken != nil {
		if errors.Is(err, w.broken) && !errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("got %T %v, want %v", err, err, w.broken)
	}
	if err == w.exactly && (err != nil || w.oneOf == nil) || late && err == io.EOF {
		return nil
	}
	for _, target := range w.oneOf {
		if errors.Is(err, target) {
			return nil
		}
	}
	return fmt.Errorf("got %T %v, want %v", err, err, w)
}

// blockingOp is an operation that does not return before the end of its stream or End.
type blockingOp struct {
	name     string
	onStream bool // the operation is one of a stream and ends with the stream
	want     wantedResult
	begin    func(t *testing.T, f *blockedOps) <-chan error
	large    bool // the operation uses up the credit for large messages
}

// budget returns the memory budget of the server for the operation.
func (b *blockingOp) budget() int {
	if b.large {
		return smallBudget
	}
	return usualBudget
}

// on returns the operation on the stream and on the End.
func on(name string, w wantedResult, begin func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error) []blockingOp {
	return []blockingOp{
		{name: name + " on a stream", onStream: true, want: w, begin: func(t *testing.T, f *blockedOps) <-chan error { return begin(t, f, f.stream) }},
		{name: name + " on the End", want: w, begin: func(t *testing.T, f *blockedOps) <-chan error { return begin(t, f, f.Client) }},
	}
}

func (f *blockedOps) other(s geminio.Stream) geminio.Stream {
	if s == geminio.Stream(f.Client) {
		return f.Server
	}
	return f.peer
}

var blockers = func() []blockingOp {
	all := []blockingOp{
		{name: "AcceptStream", want: wantEOF, begin: func(_ *testing.T, f *blockedOps) <-chan error {
			return kit.Start(func() error { _, err := f.Client.AcceptStream(); return err })
		}},
		{name: "Accept", want: wantEOF, begin: func(_ *testing.T, f *blockedOps) <-chan error {
			return kit.Start(func() error { _, err := f.Client.Accept(); return err })
		}},
		{name: "OpenStream", want: wantEOF, begin: func(_ *testing.T, f *blockedOps) <-chan error {
			opt := options.OpenStream()
			opt.SetMeta([]byte("slow"))
			return kit.Start(func() error { _, err := f.Client.OpenStream(opt); return err })
		}},
		{name: "Shutdown", want: wantNil, begin: func(t *testing.T, f *blockedOps) <-chan error {
			f.call(t, f.Client, "")
			return kit.Start(func() error {
				return geminio.Shutdown(context.Background(), f.Client)
			})
		}},
	}
	for _, some := range [][]blockingOp{
		on("Read", wantBytes, func(_ *testing.T, _ *blockedOps, s geminio.Stream) <-chan error {
			return kit.Start(func() error { _, err := s.Read(make([]byte, 1)); return err })
		}),
		on("Write", wantPipe, func(_ *testing.T, _ *blockedOps, s geminio.Stream) <-chan error {
			return kit.Start(func() error { _, err := s.Write(make([]byte, 64<<20)); return err })
		}),
		on("many small Writes", wantPipe, func(_ *testing.T, _ *blockedOps, s geminio.Stream) <-chan error {
			return kit.Start(func() error {
				for {
					if _, err := s.Write(make([]byte, 100)); err != nil {
						return err
					}
				}
			})
		}),
		on("Receive", wantEOF, func(_ *testing.T, _ *blockedOps, s geminio.Stream) <-chan error {
			return kit.Start(func() error { _, err := s.Receive(context.Background()); return err })
		}),
		on("Call", wantMaybe, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			return f.call(t, s, "")
		}),
		on("Call without credit", wantFreed, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			f.useHandlersUp(t, s)
			return kit.Start(func() error {
				_, err := s.Call(context.Background(), "hang", s.NewRequest(nil))
				return err
			})
		}),
		on("CallAsync", wantMaybe, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			c, err := s.CallAsync(context.Background(), "hang", s.NewRequest(nil), nil)
			require.NoError(t, err)
			kit.Await(t, kit.Forever, "the start of the handler", f.entered)
			return kit.Start(func() error { return (<-c.Done).Error })
		}),
		on("CallAsync without credit", wantAbout, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			f.useHandlersUp(t, s)
			return kit.Start(func() error {
				c, err := s.CallAsync(context.Background(), "hang", s.NewRequest(nil), nil)
				if err != nil {
					return err
				}
				return (<-c.Done).Error
			})
		}),
		on("Register without credit", wantFreed, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			f.useHandlersUp(t, s)
			return kit.Start(func() error { return s.Register(context.Background(), "new", rig.Echo) })
		}),
		on("Publish", wantMaybe, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			done := kit.Start(func() error { return s.Publish(context.Background(), s.NewMessage(nil)) })
			_, err := f.other(s).Receive(kit.Deadline(t))
			require.NoError(t, err)
			return done
		}),
		on("PublishAsync", wantMaybe, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			p, err := s.PublishAsync(context.Background(), s.NewMessage(nil), nil)
			require.NoError(t, err)
			_, err = f.other(s).Receive(kit.Deadline(t))
			require.NoError(t, err)
			return kit.Start(func() error { return (<-p.Done).Error })
		}),
		on("Publish without credit", wantNot, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			f.useCreditUp(t, s, smallMessage)
			return kit.Start(func() error { return s.Publish(context.Background(), s.NewMessage(make([]byte, smallMessage))) })
		}),
		on("PublishAsync without credit", wantAbout, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			f.useCreditUp(t, s, smallMessage)
			return kit.Start(func() error {
				p, err := s.PublishAsync(context.Background(), s.NewMessage(make([]byte, smallMessage)), nil)
				if err != nil {
					return err
				}
				return (<-p.Done).Error
			})
		}),
		on("Publish of a large message without credit", wantNot, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			f.useCreditUp(t, s, largeMessage)
			return kit.Start(func() error { return s.Publish(context.Background(), s.NewMessage(make([]byte, largeMessage))) })
		}),
		on("Publish at most once without credit", wantNot, func(t *testing.T, f *blockedOps, s geminio.Stream) <-chan error {
			f.useCreditUp(t, s, smallMessage)
			return kit.Start(func() error { return s.Publish(context.Background(), onceMessage(s, smallMessage)) })
		}),
	} {
		for _, b := range some {
			b.large = strings.Contains(b.name, "a large message without credit")
			all = append(all, b)
		}
	}
	return all
}()

// onceMessage returns a message of n bytes that is sent at most once.
func onceMessage(s geminio.Messager, n int) geminio.Message {
	opt := options.NewMessage()
	opt.SetCnss(options.CnssAtMostOnce)
	return s.NewMessage(make([]byte, n), opt)
}

// fillMessages publishes messages that the peer does not receive until the credit is used up,
// and returns their number. It must be called in a bubble: a message without credit waits for
// its timeout, which passes only if the connection is idle.
func fillMessages(t *testing.T, s geminio.Messager, size int) (n int) {
	for ; ; n++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := s.Publish(ctx, onceMessage(s, size))
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			return n
		}
	}
}

// publishMany publishes n messages for which there is credit.
func publishMany(t *testing.T, s geminio.Messager, n, size int) {
	for range n {
		require.NoError(t, s.Publish(kit.Deadline(t), onceMessage(s, size)), "Publish of %d messages of %d bytes with credit", n, size)
	}
}

// useCreditUp publishes messages on s until the credit is used up.
func (f *blockedOps) useCreditUp(t *testing.T, s geminio.Stream, size int) {
	if f.credit == nil {
		fillMessages(t, s, size)
	} else {
		publishMany(t, s, f.credit[messageKind{size, s == f.stream}], size)
	}
}

// messageKind is a kind of messages that blockedOps publishes.
type messageKind struct {
	size     int
	onStream bool // on the stream, or else on the End
}

// The sizes of messages that draw on different credit, and the memory budgets of the server for
// operations with them: a small one leaves less credit for large messages to use up.
const (
	smallMessage = 1 << 10
	largeMessage = 2 << 20

	usualBudget = 256 << 20
	smallBudget = 20 << 20
)

// budget returns the memory budget of the server for messages of the kind.
func (k messageKind) budget() int {
	if k.size == largeMessage {
		return smallBudget
	}
	return usualBudget
}

// countCredit returns the number of messages of each kind that have credit. It counts them in
// bubbles, where a message without credit is known to be blocked.
func countCredit(t *testing.T) map[messageKind]int {
	credit := make(map[messageKind]int)
	for _, kind := range []messageKind{{smallMessage, true}, {smallMessage, false}, {largeMessage, true}, {largeMessage, false}} {
		synctest.Test(t, func(t *testing.T) {
			f := newBlocked(t, "pipe", kind.budget(), nil)
			s := f.stream
			if !kind.onStream {
				s = f.Client
			}
			credit[kind] = fillMessages(t, s, kind.size)
		})
	}
	return credit
}

// endingEvent is a way in which the connection or the stream ends.
type endingEvent struct {
	name   string
	stream bool // the stream ends, and the connection does not
	byPeer bool // the peer is the side that ends it
	breaks bool // the connection breaks
	end    func(f *blockedOps)
}

var endings = []endingEvent{
	{name: "the local End closes", end: func(f *blockedOps) { f.Client.Close() }},
	{name: "the remote End closes", end: func(f *blockedOps) { f.Server.Close() }},
	{name: "the transport breaks here", breaks: true, end: func(f *blockedOps) { f.ClientConn.Close() }},
	{name: "the transport breaks there", breaks: true, end: func(f *blockedOps) { f.ServerConn.Close() }},
	{name: "the stream is closed here", stream: true, end: func(f *blockedOps) { f.stream.Close() }},
	{name: "the stream is closed there", stream: true, byPeer: true, end: func(f *blockedOps) { f.peer.Close() }},
}

// TestBlockedReturns runs in bubbles, where the test knows that an operation is blocked, and
// where an operation that returns at once takes no time.
func TestBlockedReturns(t *testing.T) {
	for _, b := range blockers {
		for _, e := range endings {
			if e.stream && !b.onStream {
				continue
			}
			t.Run(b.name+"/"+e.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newBlocked(t, "pipe", b.budget(), nil)
					done := b.begin(t, f)
					kit.Blocked(t, done)
					go e.end(f)
					err := kit.Await(t, promptly, "return", done)
					require.NoError(t, b.want.check(err, false, e))
				})
			})
		}
	}
}

// TestBlockedReturnsTCP blocks the operations on sockets. TestBlockedReturns checks the time
// in which they return.
func TestBlockedReturnsTCP(t *testing.T) {
	credit := countCredit(t)
	for _, e := range endings {
		before := goleak.IgnoreCurrent()
		t.Run(e.name, func(t *testing.T) {
			for _, b := range blockers {
				if e.stream && !b.onStream {
					continue
				}
				t.Run(b.name, func(t *testing.T) {
					t.Parallel() // the test waits for a while to see that an operation is blocked
					f := newBlocked(t, "tcp", b.budget(), credit)
					done := b.begin(t, f)
					go e.end(f)
					err := kit.Await(t, kit.Forever, "return", done)
					require.NoError(t, b.want.check(err, true, e))
				})
			}
		})
		goleak.VerifyNone(t, before)
	}
}
