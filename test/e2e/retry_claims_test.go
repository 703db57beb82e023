package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// collecting returns a function that sends the messages of an End to ch without an ack.
func collecting(ch chan<- geminio.Message) func(geminio.End) {
	return func(end geminio.End) {
		for {
			m, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			ch <- m
		}
	}
}

func publishing(end *client.RetryEnd, text string) <-chan error {
	return kit.Start(func() error { return end.Publish(context.Background(), end.NewMessage([]byte(text))) })
}

// A server that has lost its sessions hands out a message for a second time.
func TestServerRestartHandsOutAgain(t *testing.T) {
	messages := make(chan geminio.Message, 10)
	h := newTestServer(t, collecting(messages))
	end := newRetry(t, h)
	done := publishing(end, "m")
	kit.Await(t, kit.Forever, "first", messages)
	next := newTestServer(t, collecting(messages))
	h.dialer.mu.Lock()
	h.dialer.address = next.dialer.address
	h.dialer.mu.Unlock()
	h.dialer.cut(false)
	m := kit.Await(t, kit.Forever, "again", messages)
	assert.Equal(t, "m", string(m.Data()))
	require.NoError(t, m.Done())
	assert.NoError(t, kit.Await(t, kit.Forever, "publish", done))
}

// A message that is older than those a listener remembers is handed out again.
func TestBeyondTheWindowHandsOutAgain(t *testing.T) {
	held := make(chan geminio.Message, 10)
	h := newTestServer(t, func(end geminio.End) {
		for {
			m, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			if string(m.Data()) == "hold" {
				held <- m
			} else {
				m.Done()
			}
		}
	})
	for _, c := range []struct {
		between int
		again   bool
	}{{8191, false}, {8192, true}} {
		end := newRetry(t, h)
		hold := publishing(end, "hold")
		first := kit.Await(t, kit.Forever, "first", held)
		acks := make(chan *geminio.Publish, c.between)
		for range c.between {
			_, err := end.PublishAsync(context.Background(), end.NewMessage(nil), acks)
			require.NoError(t, err)
		}
		for range c.between {
			require.NoError(t, kit.Await(t, kit.Forever, "ack", acks).Error)
		}
		h.dialer.cut(false)
		require.NoError(t, end.Register(kit.Deadline(t), "m", rig.Echo))
		if c.again {
			m := kit.Await(t, kit.Forever, "again", held)
			require.NoError(t, m.Done())
		} else {
			require.NoError(t, end.Publish(context.Background(), end.NewMessage(nil))) // sent after the others
			require.Empty(t, held)
			require.NoError(t, first.Done())
		}
		assert.NoError(t, kit.Await(t, kit.Forever, "publish", hold))
	}
}

// A client that gets another id has another session.
func TestAnotherIDHandsOutAgain(t *testing.T) {
	messages := make(chan geminio.Message, 10)
	var ids atomic.Uint64
	opt := server.NewEndOptions()
	opt.SetDelegate(&renumberingDelegate{ids: &ids})
	h := newTestServer(t, collecting(messages), opt)
	end := newRetry(t, h)
	done := publishing(end, "m")
	kit.Await(t, kit.Forever, "first", messages)
	h.dialer.cut(false)
	require.NoError(t, kit.Await(t, kit.Forever, "again", messages).Done())
	assert.NoError(t, kit.Await(t, kit.Forever, "publish", done))
}

// A message of a session that has ended by SetSessionKeep is handed out again.
func TestForgottenSessionHandsOutAgain(t *testing.T) {
	messages := make(chan geminio.Message, 10)
	opt := server.NewEndOptions()
	opt.SetSessionKeep(1)
	h := newTestServer(t, collecting(messages), opt)
	end := newRetry(t, h)
	done := publishing(end, "m")
	kit.Await(t, kit.Forever, "first", messages)
	h.dialer.cut(false)
	require.NoError(t, kit.Await(t, kit.Forever, "again", messages).Done())
	assert.NoError(t, kit.Await(t, kit.Forever, "publish", done))
}

// A message that was handed out and is never acknowledged is not handed out again. Its
// publisher waits until its context ends.
func TestNeverAnswered(t *testing.T) {
	messages := make(chan geminio.Message, 10)
	h := newTestServer(t, collecting(messages))
	end := newRetry(t, h)
	ctx, cancel := context.WithCancel(context.Background())
	done := kit.Start(func() error { return end.Publish(ctx, end.NewMessage([]byte("m"))) })
	kit.Await(t, kit.Forever, "first", messages)
	for range 3 {
		h.dialer.cut(false)
		require.NoError(t, end.Register(kit.Deadline(t), "m", rig.Echo))
		require.NoError(t, end.Publish(ctx, onceMessage(end, 0)))
		require.Empty(t, kit.Await(t, kit.Forever, "behind", messages).Data())
	}
	require.Empty(t, done)
	cancel()
	assert.Equal(t, context.Canceled, kit.Await(t, kit.Forever, "publish", done))
	h.dialer.cut(false)
	require.NoError(t, end.Register(kit.Deadline(t), "m", rig.Echo))
	require.NoError(t, end.Publish(context.Background(), onceMessage(end, 0)))
	require.Empty(t, kit.Await(t, kit.Forever, "behind", messages).Data())
}

// A message that arrived over a lost connection and was not received there is handed out once,
// on the next connection.
func TestUnreceivedIsHandedOutOnce(t *testing.T) {
	h := newTestServer(t, nil)
	end := newRetry(t, h)
	done := publishing(end, "m")
	require.NoError(t, end.Register(kit.Deadline(t), "m", rig.Echo))
	first := accepted(t, h, 1)
	// A call that arrives after the message:
	_, err := end.Call(kit.Deadline(t), "none", end.NewRequest(nil))
	require.ErrorContains(t, err, "no such rpc")
	h.dialer.cut(false)
	require.NoError(t, end.Register(kit.Deadline(t), "m", rig.Echo))
	next := accepted(t, h, 2)
	_, err = first.Receive(kit.Deadline(t))
	require.Equal(t, io.EOF, err, "Receive on the lost connection; the message arrives again on the next one")
	m, err := next.Receive(kit.Deadline(t))
	require.NoError(t, err)
	require.Equal(t, "m", string(m.Data()))
	require.NoError(t, m.Done())
	assert.NoError(t, kit.Await(t, kit.Forever, "publish", done))
}

// The peer closes the connection with a Close frame.
func TestPeerCloses(t *testing.T) {
	messages := make(chan geminio.Message, 10)
	sopt := server.NewEndOptions()
	entered := make(chan struct{}, 10)
	sopt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "hang", RPC: func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
		entered <- struct{}{}
		<-ctx.Done()
	}})
	h := newTestServer(t, collecting(messages), sopt)
	end := newRetry(t, h)
	stream, err := end.OpenStream()
	require.NoError(t, err)
	called := kit.Start(func() error {
		_, err := end.Call(context.Background(), "hang", end.NewRequest(nil))
		return err
	})
	kit.Await(t, kit.Forever, "handler", entered)
	done := publishing(end, "m")
	kit.Await(t, kit.Forever, "first", messages)
	h.last().Close()
	_, err = stream.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
	_, err = stream.Write(make([]byte, 1))
	assert.ErrorIs(t, err, io.ErrClosedPipe)
	err = kit.Await(t, kit.Forever, "call", called)
	assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
	require.NoError(t, end.Register(kit.Deadline(t), "m", rig.Echo))
	require.Empty(t, done)
	require.NoError(t, end.Close())
	err = kit.Await(t, kit.Forever, "publish", done)
	assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
	assert.ErrorIs(t, err, io.EOF)
}

// The loss of all packets is noticed after two heartbeats.
func TestRetryLeavesBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memoryNetwork{}
		received := make(chan geminio.Message, 10)
		l, err := server.NewListener(m.listen())
		require.NoError(t, err)
		go func() {
			for {
				end, err := l.AcceptEnd()
				if err != nil {
					return
				}
				go collecting(received)(end)
			}
		}()
		var stalled atomic.Pointer[stallConn]
		end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
			nc, err := m.dial()
			if err != nil {
				return nil, err
			}
			s := &stallConn{Conn: nc}
			stalled.Store(s)
			return s, nil
		})
		require.NoError(t, err)
		stalled.Load().stall.Store(true)
		begin := time.Now()
		done := kit.Start(func() error { return end.Publish(context.Background(), end.NewMessage([]byte("m"))) })
		(<-received).Done()
		require.NoError(t, <-done)
		t.Log(time.Since(begin))
		end.Close()
		l.Close()
		geminio.Shutdown(context.Background(), l)
		time.Sleep(time.Hour)
	})
}

// The operations of plain Ends fail when their connection breaks.
func TestPlainCut(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	a, _ := rig.OpenStream(t, p.Client, p.Server)
	p.ServerConn.Close()
	_, err := a.Read(make([]byte, 1))
	lost := err
	assert.ErrorIs(t, lost, geminio.ErrConnectionLost)
	assert.NotErrorIs(t, lost, io.EOF)
	_, err = a.Write(make([]byte, 1))
	assert.ErrorIs(t, err, io.ErrClosedPipe)
	assert.ErrorIs(t, err, geminio.ErrConnectionLost)
	_, err = p.Client.Call(kit.Deadline(t), "m", p.Client.NewRequest(nil))
	assert.Equal(t, io.EOF, err)
	require.NoError(t, p.Client.Close())
	assert.ErrorIs(t, lost, geminio.Cause(p.Client))
}

// An http.Server whose listener is an End is stopped as docs/usage.md describes.
func TestStopHTTP(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-leave
		}
		io.WriteString(w, "done")
	})}
	served := kit.Start(func() error { return s.Serve(p.Server) })
	transport := &http.Transport{DialContext: dialer(p.Client, nil)}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	get := func(path string) (string, error) {
		resp, err := c.Get("http://any" + path)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	slow := kit.Start(func() error {
		text, err := get("/slow")
		if text != "done" {
			return fmt.Errorf("%q %v", text, err)
		}
		return err
	})
	kit.Await(t, kit.Forever, "handler", entered)
	_, err := get("/") // leaves an idle connection
	require.NoError(t, err)
	down := kit.Start(func() error {
		s.SetKeepAlivesEnabled(false)
		return geminio.Shutdown(context.Background(), p.Server)
	})
	kit.Within(t, kit.Forever, "the refusal of a new call", func() {
		for {
			st, err := p.Client.OpenStream()
			if err != nil {
				require.ErrorIs(t, err, geminio.ErrGoingAway)
				return
			}
			st.Close()
		}
	})
	require.Empty(t, down)
	close(leave)
	require.NoError(t, kit.Await(t, kit.Forever, "slow", slow))
	require.NoError(t, kit.Await(t, kit.Forever, "down", down))
	t.Log(kit.Await(t, kit.Forever, "served", served))
}

// The reader of a RetryEnd gets all raw bytes and io.EOF when the server closes its End, and
// goes on with the next connection.
func TestRawServerClosed(t *testing.T) {
	ends := make(chan geminio.End, 10)
	h := newTestServer(t, func(end geminio.End) { ends <- end })
	end := newRetry(t, h)
	peer := kit.Await(t, kit.Forever, "accept", ends)
	io.WriteString(peer, "one")
	io.WriteString(end, "x")
	b := make([]byte, 10)
	rig.Expect(t, end, "one")
	io.WriteString(peer, "last")
	peer.Close()
	rig.Expect(t, end, "last")
	_, err := end.Read(b)
	require.Equal(t, io.EOF, err)
	peer = kit.Await(t, kit.Forever, "accept", ends)
	io.WriteString(end, "x") // it fails if it is the first use of the new connection
	io.WriteString(peer, "two")
	rig.Expect(t, end, "two")
	require.NoError(t, end.Close())
	_, err = end.Read(b)
	require.Equal(t, io.EOF, err)
	_, err = end.Write(b)
	require.Equal(t, net.ErrClosed, err)
}

// A caller gives up before the message is sent, and another one after that.
func TestGivenUpMessageIsNotSentAgain(t *testing.T) {
	messages := make(chan geminio.Message, 10)
	h := newTestServer(t, collecting(messages))
	end := newRetry(t, h)
	h.dialer.cut(true)
	offlineNow(t, end)
	opt := options.Publish()
	opt.SetTimeout(5 * time.Millisecond)
	require.ErrorIs(t, end.Publish(context.Background(), end.NewMessage([]byte("no")), opt), context.DeadlineExceeded)
	h.dialer.open()
	require.NoError(t, end.Register(kit.Deadline(t), "m", rig.Echo))
	require.NoError(t, end.Publish(context.Background(), onceMessage(end, 0)))
	require.Empty(t, kit.Await(t, kit.Forever, "the message that was sent", messages).Data())
}

// After Close of the own End, bytes that had arrived can be read. A message that was received
// before cannot be acknowledged, and its publication fails.
func TestAfterOwnClose(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	done := kit.Start(func() error { return p.Client.Publish(context.Background(), p.Client.NewMessage([]byte("m"))) })
	io.WriteString(p.Client, "raw")
	rig.Expect(t, p.Server, "r")
	m, err := p.Server.Receive(kit.Deadline(t))
	require.NoError(t, err)
	require.NoError(t, p.Server.Close())
	require.Error(t, m.Done())
	rig.Expect(t, p.Server, "aw")
	err = kit.Await(t, kit.Forever, "publish", done)
	require.ErrorIs(t, err, io.EOF)
	require.ErrorAs(t, err, new(*geminio.InterruptedError))
}

// accepted returns the last End that h has accepted, once there are n.
func accepted(t testing.TB, h *testServer, n int) geminio.End {
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		have := len(h.ends)
		h.mu.Unlock()
		if have >= n {
			return h.last()
		}
		require.Less(t, time.Since(begin), kit.Forever)
	}
}

// Operations that wait for credit fail when the peer shuts down. Those of a RetryEnd wait for
// the next connection.
func TestShutdownRefusesWhatWaitsForCredit(t *testing.T) {
	for _, here := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := rig.NewPair(t, "pipe", nil, nil)
			held := kit.Start(func() error { return p.Client.Publish(context.Background(), p.Client.NewMessage(nil)) })
			synctest.Wait() // it has its credit
			fillMessages(t, p.Client, 1<<10)
			waits := kit.Run(func() error {
				return p.Client.Publish(context.Background(), p.Client.NewMessage(make([]byte, 1<<10)))
			})
			kit.Blocked(t, waits)
			closing := p.Server
			if here {
				closing = p.Client
			}
			down := kit.Run(func() error { return geminio.Shutdown(context.Background(), closing) })
			assert.Equal(t, geminio.ErrGoingAway, kit.Returned(t, waits))
			go rig.AnswerAll(p.Server)
			require.NoError(t, kit.Returned(t, held))
			require.NoError(t, kit.Await(t, kit.Forever, "the return of Shutdown", down))
		})
	}
}

// The End of a server does not repeat messages: a Publish to a client that is cut off fails,
// and the ack of the client returns an error.
func TestServersMessagesAreNotSentAgain(t *testing.T) {
	h := newTestServer(t, nil)
	end := newRetry(t, h)
	peer := accepted(t, h, 1)
	done := kit.Start(func() error { return peer.Publish(context.Background(), peer.NewMessage([]byte("m"))) })
	m, err := end.Receive(kit.Deadline(t))
	require.NoError(t, err)
	h.dialer.cut(true)
	offlineNow(t, end)
	err = kit.Await(t, kit.Forever, "publish", done)
	assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
	assert.Equal(t, io.EOF, m.Done())
	h.dialer.open()
}

// A stream of a RetryEnd ends with ErrReplaced when another client gets the id of the End.
func TestReplacedRetryEnd(t *testing.T) {
	h := newTestServer(t, nil)
	opt := client.NewEndOptions()
	opt.SetClientID(5)
	one := newRetry(t, h, opt)
	stream, err := one.OpenStream()
	require.NoError(t, err)
	two := newRetry(t, h, opt)
	_, err = stream.Read(make([]byte, 1))
	assert.ErrorIs(t, err, geminio.ErrConnectionLost)
	assert.ErrorIs(t, err, geminio.ErrReplaced)
	_, err = stream.Call(context.Background(), "m", stream.NewRequest(nil))
	assert.Equal(t, io.EOF, err)
	two.Close()
}

// The session of a killed process ends: the messages of the next process are new ones.
func TestAnotherSessionIsNew(t *testing.T) {
	messages := make(chan geminio.Message, 10)
	h := newTestServer(t, collecting(messages))
	opt := client.NewEndOptions()
	opt.SetClientID(5)
	one := newRetry(t, h, opt)
	publishing(one, "m")
	kit.Await(t, kit.Forever, "first", messages)
	one.Close()
	two := newRetry(t, h, opt)
	publishing(two, "m")
	kit.Await(t, kit.Forever, "again", messages)
}
