package e2e

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// meddler returns Stats whose functions all call f with their name, and with what the event has: its
// End and its stream.
func meddler(f func(what string, e geminio.End, s geminio.Stream)) geminio.Stats {
	return geminio.Stats{
		ConnBegin:       func(ev geminio.ConnEvent) { f("ConnBegin", ev.End, nil) },
		ConnEnd:         func(ev geminio.ConnEvent) { f("ConnEnd", ev.End, nil) },
		ConnInterrupted: func(ev geminio.ConnEvent) { f("ConnInterrupted", ev.End, nil) },
		ConnResumed:     func(ev geminio.ConnEvent) { f("ConnResumed", ev.End, nil) },
		HandshakeFailed: func(geminio.HandshakeEvent) { f("HandshakeFailed", nil, nil) },
		StreamBegin:     func(ev geminio.StreamEvent) { f("StreamBegin", ev.End, ev.Stream) },
		StreamEnd:       func(ev geminio.StreamEvent) { f("StreamEnd", ev.End, ev.Stream) },
		CallBegin:       func(ev geminio.CallEvent) { f("CallBegin", ev.End, ev.Stream) },
		CallEnd:         func(ev geminio.CallEvent) { f("CallEnd", ev.End, ev.Stream) },
		MessageBegin:    func(ev geminio.MessageEvent) { f("MessageBegin", ev.End, ev.Stream) },
		MessageEnd:      func(ev geminio.MessageEvent) { f("MessageEnd", ev.End, ev.Stream) },
		Stalled:         func(ev geminio.StallEvent) { f("Stalled", ev.End, ev.Stream) },
	}
}

// serveAll answers the calls and messages of all Ends and streams of l.
func serveAll(l server.Listener) {
	for e, err := l.AcceptEnd(); err == nil; e, err = l.AcceptEnd() {
		go rig.AnswerAll(e)
		go func() {
			for s, err := e.AcceptStream(); err == nil; s, err = e.AcceptStream() {
				go rig.AnswerAll(s)
			}
		}()
	}
}

// meddle uses a RetryEnd and its server from several goroutines, with contexts that end and
// connections that are cut, while both have the Stats s and, after these, a Tally, which must find
// nothing wrong.
func meddle(t *testing.T, s geminio.Stats) {
	tally := rig.NewTally()
	so, co := server.NewEndOptions(), client.NewEndOptions()
	so.SetStats(geminio.Stats{}, s, tally.Stats())
	co.SetStats(s, geminio.Stats{}, tally.Stats())
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: rig.Echo}, &geminio.MethodRPC{Method: "hang", RPC: rig.Hang})
	nl, err := kit.Listen()
	require.NoError(t, err)
	l, err := server.NewListener(nl, so)
	require.NoError(t, err)
	go serveAll(l)
	proxy := kit.NewProxy(t, nl.Addr().String())
	e, err := client.NewRetryEndWithDialer(proxy.Dial, co)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 12 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*j%7)*time.Millisecond)
				e.Call(ctx, "echo", e.NewRequest([]byte("x")))
				e.Publish(ctx, e.NewMessage([]byte("x")))
				e.Call(ctx, "hang", e.NewRequest([]byte("x")))
				if s, err := geminio.OpenStreamContext(ctx, e); err == nil {
					s.Publish(ctx, s.NewMessage([]byte("x")))
					s.Close()
				}
				cancel()
				if i == 0 && j%4 == 2 {
					proxy.Cut()
				}
			}
		})
	}
	kit.Within(t, kit.Forever, "the operations", wg.Wait)
	kit.Within(t, kit.Forever, "Close of the client", func() { e.Close() })
	if nc, err := proxy.Dial(); err == nil { // a health check that only connects
		nc.Close()
	}
	kit.Within(t, kit.Forever, "Close of the server", func() { l.Close() })
	tally.Check(t)
}

func TestStatsThatPanic(t *testing.T) {
	meddle(t, meddler(func(string, geminio.End, geminio.Stream) { panic("oops") }))
}

// The functions use everything that does not wait.
func TestStatsThatUseTheirEnd(t *testing.T) {
	meddle(t, meddler(func(what string, e geminio.End, s geminio.Stream) {
		if e != nil {
			geminio.SnapshotOf(e)
			geminio.StreamSnapshotOf(e)
			geminio.CallsOf(e, 0)
			e.ListStreams()
		}
		if s != nil {
			geminio.StreamSnapshotOf(s)
			if s.StreamID() > 1 {
				s.Close()
			}
		}
	}))
}

// Another goroutine closes the End at the second event of a kind.
func TestStatsThatCloseTheirEnd(t *testing.T) {
	for _, what := range []string{"ConnBegin", "ConnInterrupted", "ConnResumed", "StreamBegin", "StreamEnd", "CallBegin", "CallEnd", "MessageBegin", "MessageEnd"} {
		t.Run(what, func(t *testing.T) {
			var n atomic.Int32
			var wg sync.WaitGroup
			defer wg.Wait()
			meddle(t, meddler(func(w string, e geminio.End, _ geminio.Stream) {
				if w == what && n.Add(1) == 2 {
					wg.Go(func() { e.Close() })
				}
			}))
		})
	}
}
