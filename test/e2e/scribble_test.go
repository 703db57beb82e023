package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// The buffers of an operation belong to the caller again when the operation has returned: a
// change then does not change the bytes that are sent. Under the race detector a late access
// fails the test even if it does no harm.

const (
	good = 0x55 // the bytes of all buffers during their operation
	bad  = 0xee // the bytes of all buffers after their operation
)

func filled(n int) []byte { return bytes.Repeat([]byte{good}, n) }

func scribble(buffers ...[]byte) {
	for _, b := range buffers {
		for i := range b {
			b[i] = bad
		}
	}
}

// intact returns an error if any byte of b is not good.
func intact(what string, b []byte) error {
	for i, c := range b {
		if c != good {
			return fmt.Errorf("%s: byte %d of %d is 0x%02x", what, i, len(b), c)
		}
	}
	return nil
}

// gatedConn is a net.Conn whose Read waits while the gate is shut.
type gatedConn struct {
	net.Conn
	mu   sync.Mutex
	open chan struct{}
}

func (g *gatedConn) Read(p []byte) (int, error) {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
	return g.Conn.Read(p)
}

func (g *gatedConn) shut() (reopen func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
	return sync.OnceFunc(func() { close(g.open) })
}

// scribbleSizes returns sizes around all thresholds of the implementation.
func scribbleSizes() []int {
	var all []int
	for _, at := range []int{1, 64, 192, 384, 415, 512, 1 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10, 128 << 10} {
		for _, n := range []int{at - 35, at - 24, at - 1, at, at + 1} {
			if n >= 0 {
				all = append(all, n)
			}
		}
	}
	return all
}

// gatedPair returns a Pair whose server reads only while its gate is open.
func gatedPair(t *testing.T, network string, small bool) (*rig.Pair, *gatedConn) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetLinger(300 * time.Millisecond)
	so.SetLinger(300 * time.Millisecond)
	if small {
		for _, l := range []interface {
			SetMaxMessageSize(int)
			SetMemoryBudget(int)
		}{co, so} {
			l.SetMaxMessageSize(64 << 10)
			l.SetMemoryBudget(17 << 20)
		}
	}
	cc, sc, err := kit.RawPair(network)
	require.NoError(t, err)
	for _, c := range []net.Conn{cc, sc} { // so that the path holds few bytes
		switch wrapper := c.(type) {
		case interface{ NetConn() net.Conn }:
			c = wrapper.NetConn()
		case *kit.ByteConn:
			c = wrapper.Conn
		}
		if c, ok := c.(*net.TCPConn); ok {
			c.SetReadBuffer(128 << 10)
			c.SetWriteBuffer(128 << 10)
		}
	}
	g := &gatedConn{Conn: sc}
	g.shut()()
	p, err := rig.JoinPair(cc, g, co, so)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p, g
}

// eachScribble runs a test over networks, with large and with small windows.
func eachScribble(t *testing.T, test func(t *testing.T, p *rig.Pair, g *gatedConn), networks ...string) {
	for _, network := range kit.Networks(networks...) {
		for _, small := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/small %v", network, small), func(t *testing.T) {
				p, g := gatedPair(t, network, small)
				test(t, p, g)
			})
		}
	}
}

// expired returns a context that ends soon.
func expired() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// scribblers are operations that return before their bytes are written to the transport, since
// the peer does not read or the operation is given up. Each returns the number of bytes that
// must arrive.
var scribblers = []struct {
	name string
	do   func(s geminio.Stream, data, custom []byte) (arrives int)
}{
	{"Write", func(s geminio.Stream, data, _ []byte) int {
		s.SetWriteDeadline(time.Now().Add(5 * time.Millisecond))
		n, _ := s.Write(data)
		return n
	}},
	{"Publish at most once", func(s geminio.Stream, data, custom []byte) int {
		if s.Publish(expired(), atMostOnce(s, data, custom)) != nil {
			return 0
		}
		return len(data)
	}},
	{"PublishAsync at most once", func(s geminio.Stream, data, custom []byte) int {
		p, err := s.PublishAsync(expired(), atMostOnce(s, data, custom), nil)
		if err != nil || (<-p.Done).Error != nil {
			return 0
		}
		return len(data)
	}},
	{"Publish", func(s geminio.Stream, data, custom []byte) int {
		m := s.NewMessage(data)
		m.SetCustom(custom)
		s.Publish(expired(), m)
		return 0
	}},
	{"PublishAsync", func(s geminio.Stream, data, custom []byte) int {
		m := s.NewMessage(data)
		m.SetCustom(custom)
		if p, err := s.PublishAsync(expired(), m, nil); err == nil {
			<-p.Done
		}
		return 0
	}},
	{"Call", func(s geminio.Stream, data, custom []byte) int {
		r := s.NewRequest(data)
		r.SetCustom(custom)
		s.Call(expired(), "check", r)
		return 0
	}},
	{"CallAsync", func(s geminio.Stream, data, custom []byte) int {
		r := s.NewRequest(data)
		r.SetCustom(custom)
		if c, err := s.CallAsync(expired(), "check", r, nil); err == nil {
			<-c.Done
		}
		return 0
	}},
}

func atMostOnce(s geminio.Messager, data, custom []byte) geminio.Message {
	opt := options.NewMessage()
	opt.SetCnss(options.CnssAtMostOnce)
	opt.SetCustom(custom)
	return s.NewMessage(data, opt)
}

func TestBuffersAreFreeWhenTheOperationHasReturned(t *testing.T) {
	eachScribble(t, func(t *testing.T, p *rig.Pair, g *gatedConn) {
		junk, junkPeer := rig.OpenStream(t, p.Client, p.Server)
		for _, op := range scribblers {
			t.Run(op.name, func(t *testing.T) {
				sizes := scribbleSizes()
				arrives := make([]int, len(sizes))
				got := make([]int, len(sizes))
				var mu sync.Mutex // guards got
				var near []geminio.Stream
				var readers []<-chan error
				for i := range sizes {
					a, b := rig.OpenStream(t, p.Client, p.Server)
					near = append(near, a)
					count := func(what string, data []byte) error {
						mu.Lock()
						got[i] += len(data)
						mu.Unlock()
						return intact(what, data)
					}
					require.NoError(t, b.Register(t.Context(), "check", func(_ context.Context, req geminio.Request, _ geminio.Response) {
						if err := errors.Join(count("request", req.Data()), intact("custom", req.Custom())); err != nil {
							t.Error(err)
						}
					}))
					readers = append(readers, kit.Start(func() error {
						for {
							m, err := b.Receive(context.Background())
							if err == io.EOF {
								break
							}
							if err := errors.Join(err, count("message", m.Data()), intact("custom", m.Custom())); err != nil {
								return err
							}
						}
						return nil
					}), kit.Start(func() error {
						all, err := io.ReadAll(b)
						return errors.Join(err, count("raw bytes", all))
					}))
				}
				reopen := g.shut()
				defer reopen()
				for range 20 { // more bytes than the path holds
					require.NoError(t, junk.Publish(t.Context(), onceMessage(junk, 60<<10)))
				}
				for i, n := range sizes {
					data, custom := filled(n), filled(20)
					arrives[i] = op.do(near[i], data, custom)
					scribble(data, custom)
				}
				reopen()
				for range 20 {
					receive(t, junkPeer)
				}
				for i, n := range sizes {
					require.NoError(t, near[i].Close())
					require.NoError(t, kit.Await(t, kit.Forever, "the messages", readers[2*i]), "of %d bytes", n)
					require.NoError(t, kit.Await(t, kit.Forever, "the raw bytes", readers[2*i+1]), "of %d bytes", n)
					mu.Lock()
					require.GreaterOrEqual(t, got[i], arrives[i], "of %d bytes", n)
					mu.Unlock()
				}
			})
		}
	}, "tcp", "pipe")
}

// The buffers of a call or message belong to the caller again when it is answered, and those of
// a response to the handler when the caller has it.
func TestBuffersAreFreeWhenTheAnswerIsThere(t *testing.T) {
	eachScribble(t, func(t *testing.T, p *rig.Pair, _ *gatedConn) {
		answers := make(chan [][]byte, 1)
		text := string(filled(100))
		require.NoError(t, p.Server.Register(t.Context(), "check", func(_ context.Context, req geminio.Request, resp geminio.Response) {
			if err := errors.Join(intact("request", req.Data()), intact("custom", req.Custom())); err != nil {
				t.Error(err)
			}
			data, custom := filled(len(req.Data())), filled(len(req.Custom()))
			resp.SetData(data)
			resp.SetCustom(custom)
			resp.SetError(errors.New(text))
			answers <- [][]byte{data, custom, req.Data(), req.Custom()}
		}))
		go func() {
			for {
				m, err := p.Server.Receive(context.Background())
				if err != nil {
					return
				}
				if err := errors.Join(intact("message", m.Data()), intact("custom", m.Custom())); err != nil {
					t.Error(err)
				}
				m.Error(errors.New(text))
				scribble(m.Data(), m.Custom())
			}
		}()
		for _, n := range scribbleSizes() {
			for _, async := range []bool{false, true} {
				data, custom := filled(n), filled(20)
				req, msg := p.Client.NewRequest(data), p.Client.NewMessage(data)
				req.SetCustom(custom)
				msg.SetCustom(custom)
				var resp geminio.Response
				var err, told error
				if async {
					c, err1 := p.Client.CallAsync(t.Context(), "check", req, nil)
					if err1 == nil {
						resp, err1 = (<-c.Done).Response, c.Error
					}
					m, err2 := p.Client.PublishAsync(t.Context(), msg, nil)
					if err2 == nil {
						err2 = (<-m.Done).Error
					}
					err, told = err1, err2
				} else {
					resp, err = p.Client.Call(t.Context(), "check", req)
					told = p.Client.Publish(t.Context(), msg)
				}
				scribble(data, custom)
				select {
				case buffers := <-answers:
					scribble(buffers...)
				default: // the handler was not called
				}
				if errors.Is(err, geminio.ErrTooLarge) {
					continue
				}
				require.EqualError(t, err, text)
				require.EqualError(t, told, text)
				require.NoError(t, intact("response", resp.Data()), "of %d bytes", n)
				require.NoError(t, intact("custom", resp.Custom()))
				require.Len(t, resp.Data(), n)
			}
		}
	}, "pipe") // the race detector does not see the order that a socket imposes
}

// The buffers that a constructor or OpenStream gets belong to the caller again when it has
// returned.
func TestBuffersOfOptionsAreFree(t *testing.T) {
	meta, methods := filled(100), []string{"check"}
	co := client.NewEndOptions()
	co.SetMeta(meta)
	co.SetWaitRemoteRPCs(methods...)
	check := &geminio.MethodRPC{Method: "check", RPC: rig.Echo}
	locals := []*geminio.MethodRPC{check}
	so := server.NewEndOptions()
	so.SetRegisterLocalRPCs(locals...)
	so.SetWaitRemoteRPCs()
	l := listen(t, so)
	defer l.Close()
	address := l.Addr().String()
	ends := make(chan geminio.End, 10)
	go func() {
		for {
			end, err := l.AcceptEnd()
			if err != nil {
				return
			}
			ends <- end
		}
	}()
	var transport net.Conn
	co.SetResumeKeep(0) // each cut makes a fresh connection
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		nc, err := kit.Dial(address)
		transport = nc
		return nc, err
	}, co)
	require.NoError(t, err)
	defer end.Close()
	scribble(meta)
	methods[0], locals[0], check.RPC, check.Method = "other", nil, nil, "other"
	for i := range 3 {
		peer := kit.Await(t, kit.Forever, "a connection", ends)
		require.NoError(t, intact("meta of the server", peer.Meta()))
		require.NoError(t, intact("meta of the client", end.Meta()))
		_, err := end.Call(kit.Deadline(t), "check", end.NewRequest(nil))
		require.NoError(t, err)

		opt, streamMeta := options.OpenStream(), filled(50)
		opt.SetMeta(streamMeta)
		stream, err := end.OpenStream(opt)
		require.NoError(t, err)
		scribble(streamMeta)
		accepted, err := peer.AcceptStream()
		require.NoError(t, err)
		require.NoError(t, intact("meta of the opener", stream.Meta()))
		require.NoError(t, intact("meta of the acceptor", accepted.Meta()))
		if i < 2 {
			transport.Close()
		}
	}
}

// The next Write after a Write that its deadline has ended continues at the right byte.
func TestWriteGoesOnAfterItsDeadline(t *testing.T) {
	eachScribble(t, func(t *testing.T, p *rig.Pair, g *gatedConn) {
		a, b := rig.OpenStream(t, p.Client, p.Server)
		read := kit.Start(func() error {
			all, err := io.ReadAll(b)
			return errors.Join(err, intact("raw bytes", all), errLen(len(all), 3<<20))
		})
		reopen := g.shut()
		buf := make([]byte, 300<<10)
		for left := 3 << 20; left > 0; {
			a.SetWriteDeadline(time.Now().Add(time.Millisecond))
			copy(buf, filled(len(buf)))
			n, err := a.Write(buf[:min(left, len(buf))])
			scribble(buf)
			left -= n
			if err != nil {
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				reopen()
			}
		}
		reopen()
		require.NoError(t, a.Close())
		require.NoError(t, kit.Await(t, kit.Forever, "all", read))
	}, "tcp", "pipe")
}

func errLen(got, want int) error {
	if got != want {
		return fmt.Errorf("%d bytes, not %d", got, want)
	}
	return nil
}
