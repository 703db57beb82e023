package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// script is a run of work of all kinds, with small frames, between two Ends whose session is
// resumed. It does one thing after the other, and records what each side sees.
type script struct {
	t    *testing.T
	ends [2]geminio.End // the client and the server

	mu    sync.Mutex
	lines [2][]string // what each side sees
	calls [2][]string // the callbacks of each side, whose times differ from run to run
}

// scriptDelegate records the callbacks of one side. Those of interruptions are none of them.
type scriptDelegate struct {
	*delegate.UnimplementedDelegate
	s    *script
	side int
}

func (d *scriptDelegate) called(format string, args ...any) {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	d.s.calls[d.side] = append(d.s.calls[d.side], fmt.Sprintf(format, args...))
}

func (d *scriptDelegate) ConnOnline(delegate.ConnDescriber) error  { d.called("online"); return nil }
func (d *scriptDelegate) ConnOffline(delegate.ConnDescriber) error { d.called("offline"); return nil }
func (d *scriptDelegate) EndReOnline(delegate.ClientDescriber)     { d.called("online again") }

func (d *scriptDelegate) DialogueOnline(v delegate.DialogueDescriber) error {
	d.called("stream %d %q", v.DialogueID(), v.Meta())
	return nil
}

func (d *scriptDelegate) DialogueOffline(v delegate.DialogueDescriber) error {
	d.called("stream %d is over", v.DialogueID())
	return nil
}

func (d *scriptDelegate) RemoteRegistration(method string, client, stream uint64) {
	d.called("method %s of stream %d", method, stream)
}

// record records what a side sees.
func (s *script) record(side int, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines[side] = append(s.lines[side], fmt.Sprintf(format, args...))
}

// runScript runs the script over transports of dial, up to the last answer, and returns what both
// sides have seen. It calls begun when there is a session.
func runScript(t *testing.T, dial func() (near, far net.Conn, err error), begun func()) *script {
	s := &script{t: t}
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetDelegate(&scriptDelegate{s: s, side: 0})
	so.SetDelegate(&scriptDelegate{s: s, side: 1})
	co.SetRetryBackoff(time.Second, time.Second)
	tally := rig.NewTally()
	co, so = tally.Add(co, so)
	p, err := rig.JoinSession(dial, co, so)
	require.NoError(t, err)
	synctest.Wait()
	begun()
	s.ends = [2]geminio.End{p.Client, p.Server}
	for side := range 2 {
		s.callsFrom(side)
		s.messagesFrom(side)
		s.streamsFrom(side)
	}
	stats := p.Client.(*client.RetryEnd).Stats()
	assert.EqualValues(t, 1, stats.Connections)
	for range 300 { // the last frames may wait until silence is noticed and the session is resumed
		synctest.Wait()
		if rig.Traffic(p.Client, p.Server) == nil {
			break
		}
		time.Sleep(time.Second)
	}
	assert.NoError(t, rig.Traffic(p.Client, p.Server))
	p.Close()
	synctest.Wait()
	tally.Check(t)
	s.mu.Lock() // for the callbacks that are still running
	defer s.mu.Unlock()
	return s
}

func (s *script) callsFrom(side int) {
	ctx := context.Background()
	from, to := s.ends[side], s.ends[1-side]
	register := func(method string, rpc geminio.RPC) {
		assert.NoError(s.t, to.Register(ctx, method, func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			s.record(1-side, "%s(%s, %s)", method, req.Data(), req.Custom())
			rpc(ctx, req, resp)
		}))
	}
	register("echo", rig.Echo)
	register("fail", func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetError(errors.New("sorry")) })
	register("panic", func(context.Context, geminio.Request, geminio.Response) { panic("oh") })
	entered := make(chan struct{})
	register("hang", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
		entered <- struct{}{}
		<-ctx.Done()
		s.record(1-side, "hang: %v", ctx.Err())
		entered <- struct{}{}
	})
	register("back", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		answer, err := to.Call(ctx, "from", to.NewRequest(req.Data()))
		if err == nil {
			resp.SetData(answer.Data())
		}
		resp.SetError(err)
	})
	assert.NoError(s.t, from.Register(ctx, "from", rig.Echo))
	for _, method := range []string{"echo", "fail", "panic", "back", "none"} {
		req := from.NewRequest([]byte("data of " + method))
		req.SetCustom([]byte("custom"))
		resp, err := from.Call(ctx, method, req)
		if err != nil {
			s.record(side, "%s: %v", method, err)
		} else {
			s.record(side, "%s: %s, %s", method, resp.Data(), resp.Custom())
		}
	}
	call, err := from.CallAsync(ctx, "echo", from.NewRequest([]byte("async")), nil)
	if assert.NoError(s.t, err) {
		<-call.Done
		s.record(side, "async: %s, %v", call.Response.Data(), call.Error)
	}
	given, giveUp := context.WithCancel(ctx)
	hung := kit.Start(func() error { _, err := from.Call(given, "hang", from.NewRequest(nil)); return err })
	<-entered
	giveUp()
	s.record(side, "hang: %v", <-hung)
	<-entered
}

func (s *script) messagesFrom(side int) {
	ctx := context.Background()
	from, to := s.ends[side], s.ends[1-side]
	take := func(err error) {
		m, rerr := to.Receive(ctx)
		if assert.NoError(s.t, rerr) {
			s.record(1-side, "message %s of %s", m.Data(), m.Topic())
			if err != nil {
				assert.NoError(s.t, m.Error(err))
			} else {
				assert.NoError(s.t, m.Done())
			}
		}
	}
	for _, answer := range []error{nil, errors.New("no thanks")} {
		opt := options.NewMessage()
		opt.SetTopic("topic")
		published := kit.Start(func() error { return from.Publish(ctx, from.NewMessage([]byte("acked"), opt)) })
		take(answer)
		s.record(side, "published: %v", <-published)
	}
	once := options.NewMessage()
	once.SetCnss(options.CnssAtMostOnce)
	for i := range 3 {
		assert.NoError(s.t, from.Publish(ctx, from.NewMessage(fmt.Appendf(nil, "once %d", i), once)))
	}
	for range 3 {
		m, err := to.Receive(ctx)
		if assert.NoError(s.t, err) {
			s.record(1-side, "message %s", m.Data())
		}
	}
}

func (s *script) streamsFrom(side int) {
	ctx := context.Background()
	from, to := s.ends[side], s.ends[1-side]
	open := func(meta string) (near, far geminio.Stream) {
		opt := options.OpenStream()
		opt.SetMeta([]byte(meta))
		near, err := from.OpenStream(opt)
		require.NoError(s.t, err)
		far, err = to.AcceptStream()
		require.NoError(s.t, err)
		s.record(1-side, "accepted %d, %s", far.StreamID(), far.Meta())
		return near, far
	}
	write := func(stream geminio.Stream, side int, text string) {
		n, err := stream.Write([]byte(text))
		s.record(side, "wrote %d, %v", n, err)
	}
	read := func(stream geminio.Stream, side, n int) {
		p := make([]byte, n)
		n, err := io.ReadFull(stream, p)
		s.record(side, "read %s, %v", p[:n], err)
	}
	near, far := open("half closed")
	write(near, side, "question")
	assert.NoError(s.t, geminio.CloseWrite(near))
	read(far, 1-side, 8)
	read(far, 1-side, 1)
	write(far, 1-side, "answer")
	assert.NoError(s.t, far.Close())
	read(near, side, 7)
	assert.NoError(s.t, near.Close())

	near, far = open("reset")
	write(far, 1-side, "x")
	read(near, side, 1)
	assert.NoError(s.t, geminio.Reset(near, 1234, "enough"))
	read(far, 1-side, 1)

	near, far = open("stopped")
	assert.NoError(s.t, geminio.CloseRead(far))
	for range 1000 { // until it has noticed
		if _, err := near.Write([]byte("y")); err != nil {
			s.record(side, "stopped: %v", err)
			break
		}
		time.Sleep(time.Second)
	}
	assert.NoError(s.t, near.Close())
	assert.NoError(s.t, far.Close())

	near, far = open("with work")
	assert.NoError(s.t, far.Register(ctx, "echo", rig.Echo))
	resp, err := near.Call(ctx, "echo", near.NewRequest([]byte("on a stream")))
	if assert.NoError(s.t, err) {
		s.record(side, "%s", resp.Data())
	}
	published := kit.Start(func() error { return near.Publish(ctx, near.NewMessage([]byte("on a stream"))) })
	m, err := far.Receive(ctx)
	if assert.NoError(s.t, err) {
		s.record(1-side, "%s", m.Data())
		assert.NoError(s.t, m.Done())
	}
	s.record(side, "published: %v", <-published)
	assert.NoError(s.t, near.SetReadDeadline(time.Now().Add(time.Minute)))
	read(near, side, 1)
	assert.NoError(s.t, near.Close())
	read(far, 1-side, 1)
	assert.NoError(s.t, far.Close())

	write(from, side, "raw") // on the default stream
	read(to, 1-side, 3)
}

// A transport is cut at a byte of either direction, from the first byte behind the handshake to
// the last answer. In other runs the next transport is cut too, in its handshake or in the replay.
// Both applications see what they see without a cut. Each byte of the first transport is cut in
// one of the modes; with CUTS set, in all of them.
func TestScriptOfAllWorkIsCutAtEveryByte(t *testing.T) {
	var whole *script
	var first, total [2]int
	synctest.Test(t, func(t *testing.T) {
		var ends [2]*kit.CutEnd
		sent := func() [2]int { return [2]int{ends[0].Sent(), ends[1].Sent()} }
		whole = runScript(t, func() (net.Conn, net.Conn, error) {
			near, far := kit.NewCutPipe(kit.CutFIN, kit.NoCut, kit.NoCut)
			ends = [2]*kit.CutEnd{near, far}
			return near, far, nil
		}, func() { first = sent() })
		total = sent()
	})
	require.Greater(t, len(whole.lines[0]), 40)
	require.Greater(t, len(whole.lines[1]), 40)
	cut := func(t *testing.T, mode kit.CutMode, side, at, next int) {
		synctest.Test(t, func(t *testing.T) {
			dials := 0
			s := runScript(t, func() (net.Conn, net.Conn, error) {
				limits := [2]int{kit.NoCut, kit.NoCut}
				switch dials++; dials {
				case 1:
					limits[side] = at
				case 2:
					limits[1-side] = next
				}
				near, far := kit.NewCutPipe(mode, limits[0], limits[1])
				return near, far, nil
			}, func() {})
			require.Equal(t, whole.lines[0], s.lines[0], "the client, cut at %d of %d, then at %d", at, total[side], next)
			require.Equal(t, whole.lines[1], s.lines[1], "the server, cut at %d of %d, then at %d", at, total[side], next)
			require.ElementsMatch(t, whole.calls[0], s.calls[0], "the callbacks of the client")
			require.ElementsMatch(t, whole.calls[1], s.calls[1], "the callbacks of the server")
		})
	}
	modes := []kit.CutMode{kit.CutFIN, kit.CutRST, kit.CutSilence}
	step := len(modes) * kit.Slowdown
	if os.Getenv("CUTS") != "" {
		step = 1
	}
	for i, mode := range modes {
		for side := range 2 {
			t.Run(fmt.Sprintf("%v of side %d", mode, side), func(t *testing.T) {
				t.Parallel()
				for at := first[side] + 1 + i%step; at < total[side]; at += step {
					cut(t, mode, side, at, kit.NoCut)
				}
				for next := 1 + i%step; next < 1500; next += 5 * step {
					cut(t, mode, side, (first[side]+total[side])/2, next)
				}
			})
		}
	}
}
