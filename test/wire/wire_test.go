package wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// large is an offer with which the server sends fragments, and smallest is that of the last
// section of docs/wire.md.
var (
	large    = offer{Frame: 10_000, Message: 4 << 20, Streams: 8, Raw: 30_000, Messages: 5000, Handlers: 3, Large: 4<<20 + 160}
	narrow   = offer{Frame: 1024, Message: 4 << 20, Streams: 8, Raw: 1, Messages: 1024, Handlers: 1, Large: 4<<20 + 160}
	smallest = offer{Frame: 65536, Message: 8160, Messages: 32768, Raw: 65536, Handlers: 16, Large: 8320}
)

// pair is a client of this package and the End of a server.
type pair struct {
	*client
	end geminio.End
}

// newPair returns a client and the End of a server, over TCP.
func newPair(t *testing.T, own offer, opts ...*server.EndOptions) *pair {
	t.Helper()
	l, err := server.Listen("tcp", "127.0.0.1:0", opts...)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return join(t, l, own)
}

// join connects a client to a listener.
func join(t *testing.T, l server.Listener, own offer) *pair {
	t.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	c, err := connect(nc, own, 0, []byte("meta"))
	require.NoError(t, err)
	return run(t, c, l)
}

// run runs a client that has connected to a listener.
func run(t *testing.T, c *client, l server.Listener) *pair {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.run()
	}()
	end, err := l.AcceptEnd()
	require.NoError(t, err)
	t.Cleanup(func() {
		end.Close()
		c.nc.Close()
		<-ended
	})
	return &pair{c, end}
}

// eachOffer runs a test with every offer.
func eachOffer(t *testing.T, test func(t *testing.T, own offer)) {
	for name, own := range map[string]offer{"large": large, "narrow": narrow, "smallest": smallest} {
		t.Run(name, func(t *testing.T) { test(t, own) })
	}
}

// limited returns options of a server with small limits.
func limited() *server.EndOptions {
	o := server.NewEndOptions()
	o.SetMaxMessageSize(1 << 20)
	o.SetMaxHandlers(4)
	o.SetMaxStreams(20)
	o.SetMemoryBudget(5 << 20)
	return o
}

func echo(_ context.Context, req geminio.Request, resp geminio.Response) {
	resp.SetData(req.Data())
	resp.SetCustom(req.Custom())
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func code(err error) int {
	var r *remote
	if errors.As(err, &r) {
		return int(r.code)
	}
	return -1
}

func TestConnectAndClose(t *testing.T) {
	eachOffer(t, func(t *testing.T, own offer) {
		p := newPair(t, own)
		assert.Equal(t, p.id, p.end.ClientID())
		assert.Equal(t, "meta", string(p.end.Meta()))
		require.NoError(t, p.close())
		_, err := p.end.AcceptStream()
		assert.Equal(t, io.EOF, err)
	})
	t.Run("the server closes", func(t *testing.T) {
		p := newPair(t, smallest)
		require.NoError(t, p.end.Close())
		require.NoError(t, p.close())
	})
}

// refusingDelegate is a delegate that refuses all clients.
type refusingDelegate struct {
	*delegate.UnimplementedDelegate
}

func (refusingDelegate) GetClientID(uint64, []byte) (uint64, error) { return 0, errors.New("not you") }

func TestConnectIsRefused(t *testing.T) {
	refuse := server.NewEndOptions()
	refuse.SetDelegate(refusingDelegate{})
	refuse.SetRefuseWireV1()
	l, err := server.Listen("tcp", "127.0.0.1:0", refuse)
	require.NoError(t, err)
	defer l.Close()
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	_, err = connect(dial(), smallest, 0, nil)
	assert.EqualError(t, err, "not you (code 1)")

	nc := dial()
	_, err = nc.Write([]byte("\x01\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0c\x18\x00\x00\x00\x00\x00\x00\x00\x00\x00{}"))
	require.NoError(t, err)
	answer, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Greater(t, len(answer), 23)
	assert.Equal(t, []byte{1, 2, 0, 0, 0, 0, 0, 0, 0, 1}, answer[:10])
	assert.Equal(t, byte(1), answer[14])
	assert.Contains(t, string(answer[23:]), `"code":8`)
}

func TestCallsOfTheClient(t *testing.T) {
	eachOffer(t, func(t *testing.T, own offer) {
		p := newPair(t, own, limited())
		require.NoError(t, p.end.Register(t.Context(), "echo", echo))
		require.NoError(t, p.end.Register(t.Context(), "fail", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			resp.SetError(errors.New("no luck"))
		}))
		canceled := make(chan error, 10)
		require.NoError(t, p.end.Register(t.Context(), "hang", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			<-ctx.Done()
			canceled <- ctx.Err()
		}))
		p.mu.Lock()
		assert.Equal(t, []string{"echo", "fail", "hang"}, p.learnt)
		p.mu.Unlock()

		sizes := []int{0, 1, 900, 1100, 4000, 8100}
		if own.Message > 1<<20 {
			sizes = append(sizes, 8170, 9000, 70_000, 1<<20-100)
		}
		for _, n := range sizes {
			data, err := p.main().call("echo", pattern(n))
			require.NoError(t, err, n)
			require.True(t, bytes.Equal(pattern(n), data), n)
		}
		_, err := p.main().call("fail", nil)
		assert.EqualError(t, err, "no luck (code 1)")
		_, err = p.main().call("nobody's", nil)
		assert.EqualError(t, err, "no such rpc: nobody's (code 4)")
		if own.Streams == 0 {
			_, err = p.main().call("echo", pattern(9000))
			assert.Equal(t, 7, code(err), "a response above the limit of the client: %v", err)
		}

		var all sync.WaitGroup
		for i := range 60 { // more calls than the four handlers
			all.Go(func() {
				want := fmt.Appendf(nil, "%d", i)
				data, err := p.main().call("echo", want)
				assert.NoError(t, err)
				assert.Equal(t, string(want), string(data))
			})
		}
		all.Wait()

		s := p.main()
		number, _ := p.begin() // the response may arrive or not
		require.NoError(t, s.send(typeRequest, number, requestBody("hang", 0, "", nil)))
		p.frame(typeCancel, 0, 1, u64(number), u32(codeCanceled))
		assert.Equal(t, context.Canceled, <-canceled)
	})
}

func TestTimeoutOfARequest(t *testing.T) {
	p := newPair(t, smallest)
	ended := make(chan error, 1)
	require.NoError(t, p.end.Register(t.Context(), "hang", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
		<-ctx.Done()
		ended <- ctx.Err()
	}))
	_, err := p.main().ask(typeRequest, requestBody("hang", 10*time.Millisecond, "", nil))
	require.NoError(t, err)
	assert.Equal(t, context.DeadlineExceeded, <-ended)
}

func TestCallsOfTheServer(t *testing.T) {
	eachOffer(t, func(t *testing.T, own offer) {
		p := newPair(t, own, limited())
		require.NoError(t, p.main().register("echo", func(b []byte, _ <-chan struct{}) ([]byte, *remote) { return b, nil }))
		require.NoError(t, p.main().register("fail", func([]byte, <-chan struct{}) ([]byte, *remote) { return nil, &remote{1, "no luck"} }))
		canceled := make(chan struct{})
		require.NoError(t, p.main().register("hang", func(_ []byte, c <-chan struct{}) ([]byte, *remote) {
			<-c
			close(canceled)
			return nil, nil
		}))
		call := func(method string, data []byte) ([]byte, error) {
			resp, err := p.end.Call(t.Context(), method, p.end.NewRequest(data))
			if err != nil {
				return nil, err
			}
			return resp.Data(), nil
		}
		for _, n := range []int{0, 1, 8100, 9000, 70_000, 1<<20 - 100} {
			data, err := call("echo", pattern(n))
			if n > own.Message {
				require.ErrorIs(t, err, geminio.ErrTooLarge)
				continue
			}
			require.NoError(t, err, n)
			require.True(t, bytes.Equal(pattern(n), data), n)
		}
		_, err := call("fail", nil)
		assert.EqualError(t, err, "no luck")
		_, err = call("nobody's", nil)
		assert.EqualError(t, err, "no such rpc: nobody's")
		var all sync.WaitGroup
		for i := range 60 { // more calls than the handlers of the client
			all.Go(func() {
				data, err := call("echo", fmt.Appendf(nil, "%d", i))
				assert.NoError(t, err)
				assert.Equal(t, fmt.Sprint(i), string(data))
			})
		}
		all.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		_, err = p.end.Call(ctx, "hang", p.end.NewRequest(nil))
		assert.Equal(t, context.Canceled, err)
		<-canceled
		_, err = call("echo", nil)
		assert.NoError(t, err)
	})
}

// More messages than fit into the windows arrive in order, in both directions, small and large,
// with and without acks.
func TestMessagesBothWays(t *testing.T) {
	eachOffer(t, func(t *testing.T, own offer) {
		p := newPair(t, own, limited())
		const count = 300
		body := func(i int) []byte {
			n := i % 50
			switch {
			case own.Streams == 0:
				n = i * 20
			case i%10 == 9:
				n = 9000 + i*100
			}
			return append(fmt.Appendf(nil, "%d ", i), pattern(n)...)
		}
		var all sync.WaitGroup
		all.Go(func() {
			for i := range count {
				if i%3 == 0 {
					assert.NoError(t, p.main().publish("topic", body(i)))
				} else {
					assert.NoError(t, p.main().tell("topic", body(i)))
				}
			}
		})
		all.Go(func() {
			for i := range count {
				msg, err := p.end.Receive(t.Context())
				if !assert.NoError(t, err) {
					return
				}
				assert.True(t, bytes.Equal(body(i), msg.Data()), i)
				assert.Equal(t, "topic", msg.Topic())
				assert.NoError(t, msg.Done())
			}
		})
		all.Go(func() {
			once := options.NewMessage()
			once.SetCnss(options.CnssAtMostOnce)
			once.SetTopic("back")
			twice := options.NewMessage()
			twice.SetTopic("back")
			for i := range count {
				opt := once
				if i%3 == 0 {
					opt = twice
				}
				assert.NoError(t, p.end.Publish(t.Context(), p.end.NewMessage(body(i), opt)))
			}
		})
		all.Go(func() {
			for i := range count {
				m, err := p.main().receive()
				if !assert.NoError(t, err) {
					return
				}
				assert.True(t, string(body(i)) == m.data, i)
				assert.Equal(t, "back", m.topic)
				p.main().done(m, "")
			}
		})
		all.Wait()

		all.Go(func() {
			msg, err := p.end.Receive(t.Context())
			if assert.NoError(t, err) {
				msg.Error(errors.New("not this one"))
			}
		})
		assert.EqualError(t, p.main().publish("", nil), "not this one (code 1)")
		all.Go(func() {
			m, err := p.main().receive()
			assert.NoError(t, err)
			p.main().done(m, "nor this one")
		})
		assert.EqualError(t, p.end.Publish(t.Context(), p.end.NewMessage(nil)), "nor this one")
		all.Wait()
	})
}

func TestStreamsOfTheClient(t *testing.T) {
	eachOffer(t, func(t *testing.T, own offer) {
		o := limited()
		o.SetAcceptStreamFunc(func(s geminio.Stream) {
			go func() {
				defer s.Close()
				assert.Equal(t, "the meta", string(s.Meta()))
				fmt.Fprintf(s, "welcome, %s", s.Peer())
				io.Copy(s, s)
			}()
		})
		p := newPair(t, own, o)
		size := 1 << 20
		if own.Raw == 1 {
			size = 1000 // frames of one byte
		}
		for i := range uint64(30) { // more than may be open at one time
			s, err := p.openStream("peer", []byte("the meta"))
			require.NoError(t, err)
			require.Equal(t, 3+2*i, s.id)
			if i > 1 {
				require.NoError(t, s.Close())
				continue
			}
			sent := pattern(size)
			go func() {
				n, err := s.Write(sent)
				assert.NoError(t, err)
				assert.Equal(t, size, n)
				s.closeWrite()
			}()
			all, err := io.ReadAll(s)
			require.NoError(t, err)
			require.Equal(t, sha256.Sum256(append([]byte("welcome, peer"), sent...)), sha256.Sum256(all))
			require.NoError(t, s.Close())
		}
		require.NoError(t, p.close())
	})
}

func TestStreamsOfTheServer(t *testing.T) {
	for name, own := range map[string]offer{"large": large, "narrow": narrow} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, own, limited())
			p.mu.Lock()
			p.opened = make(chan *stream, 8)
			p.mu.Unlock()
			opt := options.OpenStream()
			opt.SetPeer("peer")
			opt.SetMeta([]byte("meta"))
			near, err := p.end.OpenStream(opt)
			require.NoError(t, err)
			far := <-p.opened
			assert.Equal(t, "peer", far.peer)
			assert.Equal(t, "meta", far.meta)
			assert.EqualValues(t, 2, far.id)

			require.NoError(t, near.Register(t.Context(), "echo", echo))
			data, err := far.call("echo", pattern(20_000))
			require.NoError(t, err)
			require.Equal(t, pattern(20_000), data)
			_, err = p.main().call("echo", nil)
			assert.Equal(t, codeNoMethod, code(err), "a call of a method of another stream")
			go func() {
				msg, err := near.Receive(context.Background())
				if assert.NoError(t, err) {
					msg.Done()
				}
			}()
			require.NoError(t, far.publish("", pattern(20_000)))

			type half interface{ CloseWrite() error }
			_, err = near.Write([]byte("x"))
			require.NoError(t, err)
			require.NoError(t, near.(half).CloseWrite())
			all, err := io.ReadAll(far)
			require.NoError(t, err)
			assert.Equal(t, "x", string(all))
			_, err = far.call("echo", nil)
			require.NoError(t, err, "a call after CloseWrite")
			require.NoError(t, near.Close())
			_, err = far.receive()
			require.Equal(t, errOver, err)
			_, err = near.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err)

			// The client resets a stream.
			near, err = p.end.OpenStream()
			require.NoError(t, err)
			far = <-p.opened
			p.frame(typeReset, 0, far.id, notice(1, "never mind"))
			_, err = near.Read(make([]byte, 1))
			var reset *geminio.StreamError
			require.ErrorAs(t, err, &reset)
			assert.Equal(t, "never mind", reset.Text)

			// The server stops reading.
			near, err = p.end.OpenStream()
			require.NoError(t, err)
			far = <-p.opened
			require.NoError(t, geminio.CloseRead(near))
			_, err = io.Copy(far, zeroReader{})
			assert.Equal(t, io.ErrClosedPipe, err)
			require.NoError(t, far.Close())
		})
	}
	t.Run("none", func(t *testing.T) {
		p := newPair(t, smallest)
		_, err := p.end.OpenStream()
		var refused *geminio.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, geminio.CodeLimit, refused.Code)
		assert.Equal(t, "no streams, please", refused.Text)
	})
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { return len(p), nil }

// The client closes streams while large packets are sent in both directions. No credit is lost.
func TestStreamsThatEndInTheMiddle(t *testing.T) {
	p := newPair(t, large, limited())
	p.mu.Lock()
	p.opened = make(chan *stream, 8)
	p.handlers["echo"] = func(b []byte, _ <-chan struct{}) ([]byte, *remote) { return b, nil }
	p.mu.Unlock()
	require.NoError(t, p.end.Register(t.Context(), "echo", echo))
	for i := range 40 {
		near, err := p.end.OpenStream()
		require.NoError(t, err)
		far := <-p.opened
		require.NoError(t, near.Register(t.Context(), "echo", echo))
		var all sync.WaitGroup
		all.Go(func() { near.Call(t.Context(), "echo", near.NewRequest(pattern(900_000))) })
		all.Go(func() { near.Publish(t.Context(), near.NewMessage(pattern(900_000))) })
		time.Sleep(time.Duration(i%8) * 200 * time.Microsecond)
		if i%2 == 0 {
			far.Close()
		} else {
			near.Close()
		}
		all.Wait()
		near.Close()
	}
	data, err := p.main().call("echo", pattern(1<<20-100))
	require.NoError(t, err)
	require.Len(t, data, 1<<20-100)
	resp, err := p.end.Call(t.Context(), "echo", p.end.NewRequest(pattern(1<<20-100)))
	require.NoError(t, err)
	require.Len(t, resp.Data(), 1<<20-100)
	require.NoError(t, p.close())
}

// The client abandons a request between its fragments. Its credit comes back.
func TestAbandon(t *testing.T) {
	p := newPair(t, large, limited())
	require.NoError(t, p.end.Register(t.Context(), "echo", echo))
	s := p.main()
	for range 20 {
		number, _ := p.begin()
		body := requestBody("echo", 0, "", pattern(1<<20-100))
		require.NoError(t, s.pay(typeRequest, len(body)))
		rest := 3
		s.fragments(typeRequest, number, body, func() bool { rest--; return rest > 0 })
		p.frame(typeAbandon, 0, 1, u64(number), []byte{typeRequest})
		p.sent()
	}
	data, err := s.call("echo", pattern(1<<20-100))
	require.NoError(t, err)
	require.Len(t, data, 1<<20-100)
}

// The connection stays while each side receives bytes, and ends when one of them does not.
func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		ends := make(chan geminio.End, 1)
		go func() {
			end, err := server.NewEndWithConn(far)
			assert.NoError(t, err)
			ends <- end
		}()
		c, err := connect(near, smallest, 0, nil)
		require.NoError(t, err)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.run()
		}()
		end := <-ends
		require.NoError(t, end.Register(t.Context(), "echo", echo))
		time.Sleep(time.Hour)
		_, err = c.main().call("echo", nil)
		require.NoError(t, err)
		require.NoError(t, c.close())
		<-ended
		end.Close()
	})
}

// The reader of raw bytes that were cut off gets an error and not io.EOF, on a stream and on a
// connection that breaks.
func TestTransfersThatAreCut(t *testing.T) {
	type cut struct {
		name string
		do   func(p *pair, near geminio.Stream)
		code int // of the error of Read; -1: the connection is lost
	}
	for _, test := range []cut{
		{"the server closes the stream", func(_ *pair, near geminio.Stream) { near.Close() }, 11},
		{"the server closes the End", func(p *pair, _ geminio.Stream) { p.end.Close() }, 10},
		{"the connection breaks", func(p *pair, _ geminio.Stream) { p.nc.Close() }, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, large)
			p.mu.Lock()
			p.opened = make(chan *stream, 1)
			p.mu.Unlock()
			near, err := p.end.OpenStream()
			require.NoError(t, err)
			far := <-p.opened
			wrote := make(chan error, 1)
			go func() {
				_, err := near.Write(pattern(1 << 20))
				wrote <- err
			}()
			p.mu.Lock()
			for len(far.raw) < large.Raw { // until the credit is used up
				p.changed.Wait()
			}
			p.mu.Unlock()
			test.do(p, near)
			require.Error(t, <-wrote)
			p.mu.Lock()
			for far.err == nil {
				p.changed.Wait()
			}
			p.mu.Unlock()
			all, err := io.ReadAll(far)
			require.Error(t, err, "Read after the last byte that arrived")
			assert.Equal(t, test.code, code(err), "%v", err)
			assert.Equal(t, pattern(len(all)), all)
		})
	}
}

// A server that shuts down waits for operations in flight, and refuses new ones.
func TestGoaway(t *testing.T) {
	p := newPair(t, large)
	begun, goOn := make(chan struct{}), make(chan struct{})
	require.NoError(t, p.end.Register(t.Context(), "slow", func(context.Context, geminio.Request, geminio.Response) {
		close(begun)
		<-goOn
	}))
	s, err := p.openStream("", nil)
	require.NoError(t, err)
	result := make(chan error, 1)
	go func() {
		_, err := p.main().call("slow", nil)
		result <- err
	}()
	<-begun
	down := make(chan error, 1)
	go func() { down <- geminio.Shutdown(t.Context(), p.end) }()
	p.mu.Lock()
	for !p.away {
		p.changed.Wait()
	}
	p.mu.Unlock()
	_, err = p.main().call("slow", nil)
	assert.EqualError(t, err, "the server goes away")
	_, err = p.openStream("", nil)
	assert.Error(t, err)
	p.frame(typeOpen, 0, 99, u32(1), u32(1<<20), []byte{0, 0}) // the client ignores the goaway
	close(goOn)
	require.NoError(t, <-result)
	_, err = s.Write([]byte("goes on"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, <-down)
	require.NoError(t, p.close())
}

// A delivery that is repeated over the next connection of the session is handed out once.
func TestDeliveries(t *testing.T) {
	own := smallest
	own.Session = []byte("0123456789abcdef0123456789abcdef") // the longest name of a session
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	connection := func(wish uint64) (*client, geminio.End, chan struct{}) {
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		c, err := connect(nc, own, wish, nil)
		require.NoError(t, err)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.run()
		}()
		end, err := l.AcceptEnd()
		require.NoError(t, err)
		return c, end, ended
	}
	deliver := func(c *client, count uint64, data string) chan error {
		number := 1<<63 + count
		ch := make(chan answer, 1)
		c.mu.Lock()
		c.waiting[number] = ch
		c.mu.Unlock()
		result := make(chan error, 1)
		go func() {
			_, err := c.main().askAs(typeMessage, number, ch, messageBody(2, "", "", []byte(data)))
			result <- err
		}()
		return result
	}
	c, end, ended := connection(0)
	lost, answered := deliver(c, 1, "one"), deliver(c, 2, "two")
	var got []string
	for range 2 {
		msg, err := end.Receive(t.Context())
		require.NoError(t, err)
		got = append(got, string(msg.Data()))
		if got[len(got)-1] == "two" {
			require.NoError(t, msg.Done())
		} else {
			defer msg.Done()
		}
	}
	slices.Sort(got)
	assert.Equal(t, []string{"one", "two"}, got)
	require.NoError(t, <-answered)
	c.nc.Close()
	<-ended
	require.Error(t, <-lost)
	end.Close()

	c, end, ended = connection(c.id)
	again := deliver(c, 2, "two")
	require.NoError(t, <-again, "the ack of the copy, which is that of the first delivery")
	third := deliver(c, 3, "three")
	msg, err := end.Receive(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "three", string(msg.Data()))
	require.NoError(t, msg.Done())
	require.NoError(t, <-third)
	require.NoError(t, c.close())
	<-ended
	end.Close()
}

// A violation ends the connection with code 9 and a text.
func TestTheServerNamesTheRule(t *testing.T) {
	p := newPair(t, smallest)
	p.frame(typeData, 0x80, 1)
	err := p.close()
	require.Equal(t, codeProtocol, code(err), "%v", err)
	assert.Contains(t, err.Error(), "unknown flags 0x80")
}
