package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
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

// diary has the events of one side, as lines.
type diary struct {
	mu    sync.Mutex
	lines []string
	calls []geminio.CallEvent // that have ended
}

func (d *diary) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// has reports whether the diary has a line.
func (d *diary) has(line string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.lines, line)
}

// want waits until the diary has all lines.
func (d *diary) want(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !assert.Eventually(t, func() bool { return d.has(line) }, kit.Forever, time.Millisecond, line) {
			d.mu.Lock()
			t.Logf("there are only %q", d.lines)
			d.mu.Unlock()
		}
	}
}

func (d *diary) stats() geminio.Stats {
	return geminio.Stats{
		ConnBegin: func(ev geminio.ConnEvent) { d.add("connection of the %v begins", ev.Side) },
		ConnEnd:   func(ev geminio.ConnEvent) { d.add("connection ends: %d %v", ev.Code, ev.Err) },
		HandshakeFailed: func(ev geminio.HandshakeEvent) {
			d.add("handshake fails: %v %d %t %t", ev.Side, ev.Code, ev.RemoteAddr != nil, ev.Err != nil)
		},
		StreamBegin: func(ev geminio.StreamEvent) { d.add("%v stream %d begins", ev.Direction, ev.Stream.StreamID()) },
		StreamEnd: func(ev geminio.StreamEvent) {
			d.add("%v stream %d ends: %d", ev.Direction, ev.Stream.StreamID(), ev.Code)
		},
		CallBegin: func(ev geminio.CallEvent) {
			d.add("%v call of %s begins: %d bytes, registered %t", ev.Direction, ev.Method, ev.RequestSize, ev.Registered)
		},
		CallEnd: func(ev geminio.CallEvent) {
			d.add("%v call of %s ends: %d %v, %d bytes", ev.Direction, ev.Method, ev.Code, ev.Err, ev.ResponseSize)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.calls = append(d.calls, ev)
		},
		MessageBegin: func(ev geminio.MessageEvent) {
			d.add("%v message of %s begins: %d bytes", ev.Direction, ev.Topic, ev.Size)
		},
		MessageEnd: func(ev geminio.MessageEvent) {
			d.add("%v message of %s ends: %d %v", ev.Direction, ev.Topic, ev.Code, ev.Err)
		},
		Stalled: func(ev geminio.StallEvent) {
			d.add("stream %d has waited for %v: %t %v", ev.Stream.StreamID(), ev.Credit, ev.Duration > 0, ev.Err)
		},
	}
}

// newDiaries returns a pair of Ends with a diary of each, and a Tally that is checked when the test
// has closed the pair.
func newDiaries(t *testing.T) (p *rig.Pair, near, far *diary) {
	near, far = &diary{}, &diary{}
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetStats(near.stats())
	so.SetStats(far.stats(), geminio.Stats{}, geminio.Stats{CallEnd: func(geminio.CallEvent) { panic("of the user") }})
	tally := rig.NewTally()
	co, so = tally.Add(co, so)
	p = rig.NewPair(t, "tcp", co, so)
	t.Cleanup(func() {
		p.Close()
		tally.Check(t)
	})
	return p, near, far
}

func TestStatsOfCalls(t *testing.T) {
	p, near, far := newDiaries(t)
	ctx := t.Context()
	refusal := coded{code: 1001, text: "no"}
	require.NoError(t, p.Server.Register(ctx, "echo", rig.Echo))
	require.NoError(t, p.Server.Register(ctx, "hang", rig.Hang))
	require.NoError(t, p.Server.Register(ctx, "refuse", func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetError(refusal) }))
	require.NoError(t, p.Server.Register(ctx, "panic", func(context.Context, geminio.Request, geminio.Response) { panic("of the handler") }))
	call := func(method string, opts ...*options.CallOptions) error {
		req := p.Client.NewRequest([]byte("four"))
		req.SetCustom([]byte("more"))
		_, err := p.Client.Call(ctx, method, req, opts...)
		return err
	}
	require.NoError(t, call("echo"))
	require.Error(t, call("refuse"))
	require.Error(t, call("panic"))
	require.Error(t, call("none"))
	short := options.Call()
	short.SetTimeout(10 * time.Millisecond)
	require.ErrorIs(t, call("hang", short), context.DeadlineExceeded)
	near.want(t, "connection of the initiator begins",
		"outgoing call of echo begins: 8 bytes, registered false", "outgoing call of echo ends: 0 <nil>, 8 bytes",
		"outgoing call of refuse ends: 1001 no, 0 bytes", "outgoing call of none ends: 4 no such rpc: none, 0 bytes",
		"outgoing call of hang ends: 3 context deadline exceeded, 0 bytes")
	far.want(t, "connection of the recipient begins",
		"incoming call of echo begins: 8 bytes, registered true", "incoming call of echo ends: 0 <nil>, 8 bytes",
		"incoming call of refuse ends: 1001 no, 0 bytes", "incoming call of none begins: 8 bytes, registered false",
		"incoming call of none ends: 4 no such rpc: none, 0 bytes",
		`incoming call of panic ends: 5 panic in handler of "panic": of the handler, 0 bytes`,
		"incoming call of hang ends: 3 context deadline exceeded, 0 bytes")
	far.mu.Lock()
	for _, ev := range far.calls {
		assert.Same(t, p.Server, ev.End)
		assert.Same(t, p.Server, ev.Stream)
		assert.NotNil(t, ev.Context)
		assert.Greater(t, ev.Duration, time.Duration(0))
		assert.WithinDuration(t, time.Now(), ev.Begin, kit.Forever)
	}
	far.mu.Unlock()

	require.NoError(t, p.Server.Register(ctx, "last", rig.Hang))
	async, err := p.Client.CallAsync(ctx, "last", p.Client.NewRequest(nil), nil)
	require.NoError(t, err)
	far.want(t, "incoming call of last begins: 0 bytes, registered true")
	p.Server.Close()
	<-async.Done
	near.want(t, "outgoing call of last ends: 11 "+async.Error.Error()+", 0 bytes", "connection ends: 0 <nil>")
	far.want(t, "incoming call of last ends: 11 EOF, 0 bytes", "connection ends: 0 <nil>")
}

// A function that ends the goroutine which reads a connection ends that connection.
func TestStatsThatExit(t *testing.T) {
	so := server.NewEndOptions()
	so.SetStats(geminio.Stats{CallBegin: func(geminio.CallEvent) { runtime.Goexit() }})
	p := rig.NewPair(t, "tcp", nil, so)
	_, err := p.Client.Call(t.Context(), "any", p.Client.NewRequest(nil))
	require.ErrorIs(t, err, geminio.ErrMaybeExecuted)
	<-geminio.Done(p.Server)
	assert.ErrorContains(t, geminio.Cause(p.Server), "ended the goroutine")
}

// Snapshots of both sides agree.
func TestSnapshots(t *testing.T) {
	p, _, _ := newDiaries(t)
	ctx := t.Context()
	require.NoError(t, p.Server.Register(ctx, "hang", rig.Hang))
	s, other := rig.OpenStream(t, p.Client, p.Server)
	_, err := s.Write(make([]byte, 1000))
	require.NoError(t, err)
	call, err := p.Client.CallAsync(ctx, "hang", p.Client.NewRequest(nil), nil)
	require.NoError(t, err)
	published := kit.Start(func() error { return p.Client.Publish(ctx, p.Client.NewMessage(nil)) })
	rtt, err := geminio.Ping(ctx, p.Client)
	require.NoError(t, err)
	assert.Greater(t, rtt, time.Duration(0))
	require.Eventually(t, func() bool {
		a, _ := geminio.SnapshotOf(p.Client)
		b, _ := geminio.SnapshotOf(p.Server)
		return rig.Traffic(p.Client, p.Server) == nil && b.IncomingCalls.InFlight == 1 && b.IncomingMessages.InFlight == 1 && a.RoundTrip > 0
	}, kit.Forever, time.Millisecond)
	a, _ := geminio.SnapshotOf(p.Client)
	b, _ := geminio.SnapshotOf(p.Server)
	assert.Equal(t, geminio.EndConnected, a.State)
	assert.Equal(t, p.Client.ClientID(), a.ClientID)
	assert.Equal(t, 2, a.Wire)
	assert.EqualValues(t, 1, a.Connections)
	assert.Equal(t, geminio.Counts{Begun: 1, InFlight: 1}, a.OutgoingStreams)
	assert.Equal(t, geminio.Counts{Begun: 1, InFlight: 1}, b.IncomingStreams)
	assert.Equal(t, geminio.Counts{Begun: 1, InFlight: 1}, a.OutgoingCalls)
	assert.Equal(t, geminio.Counts{Begun: 1, InFlight: 1}, a.OutgoingMessages)
	assert.WithinDuration(t, time.Now(), a.Begin, kit.Forever)
	assert.WithinDuration(t, time.Now(), b.LastReceived, kit.Forever)
	assert.Greater(t, a.MemoryBudget, a.BudgetUsed)
	assert.Greater(t, a.BudgetUsed, uint64(0))
	calls := geminio.CallsOf(p.Server, 1)
	require.Len(t, calls, 1)
	assert.Equal(t, geminio.Incoming, calls[0].Direction)
	assert.Equal(t, "hang", calls[0].Method)
	assert.Equal(t, geminio.CallRunning, calls[0].State)
	assert.EqualValues(t, 1, calls[0].StreamID)
	sent, _ := geminio.StreamSnapshotOf(s)
	got, _ := geminio.StreamSnapshotOf(other)
	assert.EqualValues(t, 1000, sent.BytesSent)
	assert.EqualValues(t, 1000, got.RawWindow.Held)
	assert.Equal(t, geminio.HalfOpen, got.Receiving)
	main, _ := geminio.StreamSnapshotOf(p.Server)
	assert.Equal(t, 1, main.Unreceived)
	assert.Equal(t, geminio.Counts{Begun: 1, InFlight: 1}, main.IncomingCalls)

	require.NoError(t, geminio.CloseWrite(s))
	require.Eventually(t, func() bool { v, _ := geminio.StreamSnapshotOf(other); return v.Receiving == geminio.HalfEnding }, kit.Forever, time.Millisecond)
	p.Client.Close()
	require.Error(t, <-published)
	<-call.Done
	<-geminio.Done(p.Server)
	b, _ = geminio.SnapshotOf(p.Server)
	assert.GreaterOrEqual(t, b.State, geminio.EndClosing)
	assert.Equal(t, io.EOF, b.Cause)
	assert.Zero(t, b.IncomingCalls.InFlight+b.IncomingMessages.InFlight+b.IncomingStreams.InFlight)
	assert.Empty(t, geminio.CallsOf(p.Server, 0))
}

func TestStatsOfMessages(t *testing.T) {
	p, near, far := newDiaries(t)
	ctx := t.Context()
	publish := func(topic string, cnss options.Cnss) <-chan error {
		opt := options.NewMessage()
		opt.SetTopic(topic)
		opt.SetCnss(cnss)
		return kit.Start(func() error { return p.Client.Publish(ctx, p.Client.NewMessage([]byte("data"), opt)) })
	}
	receive := func() geminio.Message {
		m, err := p.Server.Receive(ctx)
		require.NoError(t, err)
		return m
	}
	good := publish("good", options.CnssAtLeastOnce)
	require.NoError(t, receive().Done())
	require.NoError(t, <-good)
	bad := publish("bad", options.CnssAtLeastOnce)
	require.NoError(t, receive().Error(errors.New("refused")))
	require.Error(t, <-bad)
	require.NoError(t, <-publish("once", options.CnssAtMostOnce))
	receive()
	open := publish("open", options.CnssAtLeastOnce)
	receive()
	p.Client.Close()
	require.Error(t, <-open)
	near.want(t, "outgoing message of good begins: 4 bytes", "outgoing message of good ends: 0 <nil>", "outgoing message of bad ends: 1 refused",
		"outgoing message of once ends: 0 <nil>")
	far.want(t, "incoming message of good begins: 4 bytes", "incoming message of good ends: 0 <nil>", "incoming message of bad ends: 1 refused",
		"incoming message of once ends: 0 <nil>", "incoming message of open ends: 11 EOF")
}

func TestStatsOfStreams(t *testing.T) {
	p, near, far := newDiaries(t)
	opened, accepted := rig.OpenStream(t, p.Client, p.Server)
	require.NoError(t, opened.Close())
	near.want(t, "outgoing stream 3 begins", "outgoing stream 3 ends: 0")
	far.want(t, "incoming stream 3 begins", "incoming stream 3 ends: 0")
	_ = accepted
	opened, _ = rig.OpenStream(t, p.Server, p.Client)
	require.NoError(t, geminio.Reset(opened, 1002, "why"))
	near.want(t, "incoming stream 2 ends: 1002")
	far.want(t, "outgoing stream 2 begins", "outgoing stream 2 ends: 1002")
	rig.OpenStream(t, p.Client, p.Server)
	p.ClientConn.Close()
	near.want(t, "outgoing stream 5 ends: 11")
	far.want(t, "incoming stream 5 ends: 11")
}

func TestStatsOfStalls(t *testing.T) {
	p, near, _ := newDiaries(t)
	s, other := rig.OpenStream(t, p.Client, p.Server)
	written := kit.Start(func() error {
		_, err := s.Write(make([]byte, 4<<20))
		return err
	})
	require.Eventually(t, func() bool { v, _ := geminio.StreamSnapshotOf(s); return !v.BlockedSince.IsZero() }, kit.Forever, time.Millisecond)
	v, ok := geminio.StreamSnapshotOf(s)
	require.True(t, ok)
	assert.Equal(t, 1, v.BlockedWrites)
	assert.Zero(t, v.RawCredit)
	_, err := io.ReadFull(other, make([]byte, 4<<20))
	require.NoError(t, err)
	require.NoError(t, <-written)
	near.want(t, "stream 3 has waited for raw: true <nil>")
	a, _ := geminio.StreamSnapshotOf(s)
	b, _ := geminio.StreamSnapshotOf(other)
	assert.EqualValues(t, 4<<20, a.BytesSent)
	assert.EqualValues(t, 4<<20, b.BytesReceived)
	assert.True(t, a.BlockedSince.IsZero())
}

// unwelcome refuses all clients.
type unwelcome struct {
	*delegate.UnimplementedDelegate
}

func (unwelcome) ConnOnline(delegate.ConnDescriber) error { return coded{code: 1003, text: "go away"} }

func TestStatsOfFailedHandshakes(t *testing.T) {
	far := &diary{}
	so := server.NewEndOptions()
	so.SetStats(far.stats())
	so.SetDelegate(unwelcome{})
	l, err := server.Listen("tcp", "127.0.0.1:0", so)
	require.NoError(t, err)
	defer l.Close()
	near := &diary{}
	co := client.NewEndOptions()
	co.SetStats(near.stats())
	_, err = client.NewEnd("tcp", l.Addr().String(), co)
	require.Error(t, err)
	far.want(t, "handshake fails: recipient 1003 true true")
	near.want(t, "handshake fails: initiator 1003 true true")
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	nc.Close()
	far.want(t, "handshake fails: recipient 11 true true")
	_, err = client.NewEndWithDialer(func() (net.Conn, error) { return nil, errors.New("no network") }, co)
	require.Error(t, err)
	near.want(t, "handshake fails: initiator 11 false true")
}

// A RetryEnd reports a call once, though it is sent on two connections, and its counters go on.
func TestStatsOfARetryEnd(t *testing.T) {
	near := &diary{}
	tally := rig.NewTally()
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetStats(near.stats())
	co.SetResumeKeep(0)
	co.SetRetryBackoff(time.Millisecond, 10*time.Millisecond)
	co, so = tally.Add(co, so)
	l, err := server.Listen("tcp", "127.0.0.1:0", so)
	require.NoError(t, err)
	defer l.Close()
	var transport net.Conn
	end, err := client.NewRetryEndWithDialer(func() (nc net.Conn, err error) {
		transport, err = net.Dial("tcp", l.Addr().String())
		return transport, err
	}, co)
	require.NoError(t, err)
	defer end.Close()
	serve := func(rpc geminio.RPC) geminio.End {
		s, err := l.AcceptEnd()
		require.NoError(t, err)
		require.NoError(t, s.Register(t.Context(), "work", rpc))
		return s
	}
	began := make(chan struct{})
	serve(func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
		close(began)
		<-ctx.Done()
	})
	opt := options.Call()
	opt.SetIdempotent(true)
	done := kit.Start(func() error {
		_, err := end.Call(t.Context(), "work", end.NewRequest(nil), opt)
		return err
	})
	<-began
	calls := geminio.CallsOf(end, 10)
	require.Len(t, calls, 1)
	assert.Equal(t, "work", calls[0].Method)
	require.Eventually(t, func() bool { return geminio.CallsOf(end, 10)[0].State == geminio.CallSent }, kit.Forever, time.Millisecond)
	transport.Close()
	serve(rig.Echo)
	for {
		if err := <-done; err == nil {
			break
		} else if errors.As(err, new(*geminio.RemoteError)) { // the method was not registered yet
			done = kit.Start(func() error {
				_, err := end.Call(t.Context(), "work", end.NewRequest(nil), opt)
				return err
			})
			continue
		}
		require.NoError(t, err)
	}
	s, ok := geminio.SnapshotOf(end)
	require.True(t, ok)
	assert.Equal(t, geminio.EndConnected, s.State)
	assert.EqualValues(t, 2, s.Connections)
	assert.Zero(t, s.OutgoingCalls.InFlight)
	_, err = geminio.Ping(t.Context(), end)
	require.NoError(t, err)
	end.Close()
	l.Close()
	tally.Check(t)
	_, err = geminio.Ping(t.Context(), end)
	assert.ErrorIs(t, err, io.EOF)
	s, _ = geminio.SnapshotOf(end)
	assert.Equal(t, geminio.EndClosed, s.State)
	assert.Equal(t, io.EOF, s.Cause)
}
