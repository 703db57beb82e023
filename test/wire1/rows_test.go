package wire1

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/oldpeer"
)

func TestHandshake(t *testing.T) {
	meta := func(c *config) {
		c.client.Meta, c.peer.Meta = []byte("m1"), []byte("m1")
		id := uint64(77)
		c.client.ClientID, c.peer.ClientID = &id, 77
	}
	eachRole(t, meta, func(t *testing.T, s *setup) {
		assert.EqualValues(t, 77, s.end.ClientID())
		assert.EqualValues(t, 77, s.peer.ClientID())
		assert.Equal(t, "m1", string(s.end.Meta()))
		assert.Equal(t, "m1", string(s.peer.Meta))
		assert.EqualValues(t, 1, s.end.StreamID())
	})
}

func TestHeartbeats(t *testing.T) {
	var beats atomic.Int32
	count := func(c *config) {
		c.peer.Sees = func(p wire1.Packet) {
			if p.Type == wire1.TypeHeartbeat || p.Type == wire1.TypeHeartbeatAck {
				beats.Add(1)
			}
		}
	}
	eachRole(t, count, func(t *testing.T, s *setup) {
		beats.Store(0)
		time.Sleep(10*time.Minute + time.Second)
		assert.EqualValues(t, 30, beats.Load(), "heartbeats in ten minutes, one in 20 s")
		assert.NoError(t, geminio.Cause(s.end))
	})
}

// A server gives up a client of wire 1 that sends nothing. A server of wire 1 sends no
// heartbeats, and its client does not give it up.
func TestSilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := connect(t, &config{server: true, peer: oldpeer.Config{Period: time.Hour}})
		defer s.close()
		start := time.Now()
		_, err := s.end.Receive(t.Context())
		assert.Equal(t, io.EOF, err)
		assert.Equal(t, 40*time.Second, time.Since(start), "the time until the silent client was given up")
		assert.ErrorIs(t, geminio.Cause(s.end), geminio.ErrSilent)
	})
}

func TestCloseByTheEnd(t *testing.T) {
	for name, late := range map[string]bool{"the answer first": false, "the answer last": true} {
		t.Run(name, func(t *testing.T) {
			eachRole(t, func(c *config) { c.peer.LateAnswer = late }, func(t *testing.T, s *setup) {
				start := time.Now()
				require.NoError(t, s.end.Close())
				<-s.peer.Over()
				assert.Equal(t, io.EOF, s.peer.Err())
				assert.Zero(t, time.Since(start))
				s.wantEnd(io.EOF)
			})
		})
	}
}

func TestCloseByThePeer(t *testing.T) {
	eachRole(t, nil, func(t *testing.T, s *setup) {
		start := time.Now()
		assert.Equal(t, io.EOF, s.peer.Shut(t.Context()))
		assert.Zero(t, time.Since(start))
		s.wantEnd(io.EOF)
	})
}

func TestCloseByBoth(t *testing.T) {
	eachRole(t, nil, func(t *testing.T, s *setup) {
		var wg sync.WaitGroup
		wg.Go(func() { s.end.Close() })
		wg.Go(func() { s.peer.Shut(t.Context()) })
		wg.Wait()
		s.wantEnd(io.EOF)
		assert.Equal(t, io.EOF, s.peer.Err())
	})
}

func TestBrokenConnection(t *testing.T) {
	eachRole(t, echoing, func(t *testing.T, s *setup) {
		time.AfterFunc(time.Second, s.peer.Cut)
		_, err := s.end.Call(t.Context(), "wait", s.end.NewRequest(nil))
		assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
		assert.ErrorIs(t, geminio.Cause(s.end), io.ErrUnexpectedEOF)
	})
}

func TestCallsOfTheEnd(t *testing.T) {
	eachRole(t, echoing, func(t *testing.T, s *setup) {
		stream, err := s.end.OpenStream()
		require.NoError(t, err)
		for _, caller := range []geminio.Stream{s.end, stream} {
			resp, err := caller.Call(t.Context(), "echo", caller.NewRequest([]byte("hi")))
			require.NoError(t, err)
			assert.Equal(t, "old hi", string(resp.Data()))
			_, err = caller.Call(t.Context(), "fail", caller.NewRequest(nil))
			assert.EqualError(t, err, "it did not work")
			_, err = caller.Call(t.Context(), "nope", caller.NewRequest(nil))
			assert.EqualError(t, err, "no such rpc: nope")
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				resp, err := s.end.Call(t.Context(), "echo", s.end.NewRequest([]byte("hi")))
				if assert.NoError(t, err) {
					assert.Equal(t, "old hi", string(resp.Data()))
				}
			})
		}
		wg.Wait()
	})
}

func TestCallsOfThePeer(t *testing.T) {
	eachRole(t, nil, func(t *testing.T, s *setup) {
		go func() {
			for {
				stream, err := s.end.AcceptStream()
				if err != nil {
					return
				}
				stream.Register(t.Context(), "echo", handler)
			}
		}()
		require.NoError(t, s.end.Register(t.Context(), "echo", handler))
		session, err := s.peer.Open(t.Context(), "", nil)
		require.NoError(t, err)
		time.Sleep(time.Second)
		for _, caller := range []*oldpeer.Session{s.peer.Session, session} {
			a, err := caller.CallWith(t.Context(), wire1.Content{Key: []byte("echo"), Value: []byte("hi"), Custom: []byte("cu")})
			require.NoError(t, err)
			assert.Equal(t, "new hi cu", string(a.Value))
			assert.Equal(t, "UC", string(a.Custom))
			_, err = caller.Call(t.Context(), "nope", nil)
			assert.EqualError(t, err, "no such rpc: nope")
		}
	})
}

func handler(_ context.Context, req geminio.Request, resp geminio.Response) {
	resp.SetData(append([]byte("new "), append(append(req.Data(), ' '), req.Custom()...)...))
	resp.SetCustom([]byte("UC"))
}

func TestHijack(t *testing.T) {
	eachRole(t, nil, func(t *testing.T, s *setup) {
		require.NoError(t, s.end.Hijack(func(_ context.Context, method string, req geminio.Request, resp geminio.Response) {
			resp.SetData([]byte(method))
			resp.SetError(errors.New("hijacked"))
		}))
		a, err := s.peer.Call(t.Context(), "anything", nil)
		assert.EqualError(t, err, "hijacked")
		assert.Equal(t, "anything", string(a))
	})
}

func TestRegistrations(t *testing.T) {
	t.Run("SetWaitRemoteRPCs", func(t *testing.T) {
		wait := func(c *config) {
			echoing(c)
			c.client.RemoteMethods, c.serve.RemoteMethods = []string{"echo"}, []string{"echo"}
			c.client.RemoteMethodCheck, c.serve.RemoteMethodCheck = true, true
		}
		for _, role := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c := &config{server: role}
				wait(c)
				registered := make(chan struct{})
				c.peer.Sees = func(wire1.Packet) {}
				var s *setup
				done := make(chan struct{})
				go func() {
					defer close(done)
					s = connectAnd(t, c, func(p *oldpeer.Peer) {
						time.Sleep(time.Second)
						close(registered)
						p.Register(t.Context(), "echo")
					})
				}()
				<-done
				defer s.close()
				<-registered
				_, err := s.end.Call(t.Context(), "nope", s.end.NewRequest(nil))
				assert.Equal(t, geminio.ErrRemoteRPCUnregistered, err)
				_, err = s.end.Call(t.Context(), "echo", s.end.NewRequest(nil))
				assert.NoError(t, err)
			})
		}
	})
	t.Run("SetRegisterLocalRPCs", func(t *testing.T) {
		var heard chan string
		local := func(c *config) {
			heard = make(chan string, 10)
			m := []*geminio.MethodRPC{{Method: "local", RPC: handler}}
			c.client.LocalMethods, c.serve.LocalMethods = m, m
			c.peer.Sees = func(p wire1.Packet) {
				if p.Type == wire1.TypeRegister {
					heard <- string(p.Raw)
				}
			}
		}
		eachRole(t, local, func(t *testing.T, s *setup) {
			assert.NoError(t, s.end.Register(t.Context(), "later", handler))
			assert.Equal(t, "local", <-heard)
			assert.Equal(t, "later", <-heard)
		})
	})
}

func TestMessagesOfTheEnd(t *testing.T) {
	var got chan wire1.Packet
	take := func(c *config) {
		got = make(chan wire1.Packet, 10)
		c.peer.Message = func(s *oldpeer.Session, p wire1.Packet) error {
			got <- p
			if p.Topic == "bad" {
				return errors.New("disk full")
			}
			return nil
		}
	}
	eachRole(t, take, func(t *testing.T, s *setup) {
		stream, err := s.end.OpenStream()
		require.NoError(t, err)
		for _, publisher := range []geminio.Stream{s.end, stream} {
			topic := options.NewMessage()
			topic.SetTopic("t")
			topic.SetCustom([]byte("cu"))
			msg := publisher.NewMessage([]byte("hello"), topic)
			require.NoError(t, publisher.Publish(t.Context(), msg))
			p := <-got
			assert.Equal(t, "hello t cu", string(p.Value)+" "+p.Topic+" "+string(p.Custom))
			assert.Equal(t, msg.ID(), p.ID, "the id of the message at the peer")
			topic.SetTopic("bad")
			assert.EqualError(t, publisher.Publish(t.Context(), publisher.NewMessage(nil, topic)), "disk full")
			<-got
			topic.SetCnss(options.CnssAtMostOnce)
			assert.NoError(t, publisher.Publish(t.Context(), publisher.NewMessage([]byte("once"), topic)))
			assert.Equal(t, "once", string((<-got).Value))
		}
	})
}

func TestMessagesOfThePeer(t *testing.T) {
	eachRole(t, nil, func(t *testing.T, s *setup) {
		for i := range 10 {
			published := make(chan error, 1)
			go func() {
				published <- s.peer.PublishWith(t.Context(), wire1.Content{Topic: "t", Value: []byte("hello"), Custom: []byte("cu")})
			}()
			msg, err := s.end.Receive(t.Context())
			require.NoError(t, err)
			assert.Equal(t, "hello t cu", string(msg.Data())+" "+msg.Topic()+" "+string(msg.Custom()))
			assert.Equal(t, options.CnssAtLeastOnce, msg.Cnss())
			synctest.Wait()
			assert.Empty(t, published, "acks before Done")
			if i%2 == 0 {
				require.NoError(t, msg.Done())
				assert.NoError(t, <-published)
			} else {
				require.NoError(t, msg.Error(errors.New("disk full")))
				assert.EqualError(t, <-published, "disk full")
			}
		}
	})
}

func TestStreamsOfTheEnd(t *testing.T) {
	var got chan string
	take := func(c *config) {
		got = make(chan string, 100)
		c.peer.Raw = func(s *oldpeer.Session, b []byte) { got <- string(b); s.Write([]byte("old")) }
		c.peer.Opened = func(s *oldpeer.Session) error {
			if s.Name == "bad" {
				return errors.New("not today")
			}
			got <- s.Name + " " + string(s.Meta)
			return nil
		}
	}
	eachRole(t, take, func(t *testing.T, s *setup) {
		opt := options.OpenStream()
		opt.SetPeer("pp")
		opt.SetMeta([]byte("sm"))
		stream, err := s.end.OpenStream(opt)
		require.NoError(t, err)
		assert.Equal(t, "pp sm", <-got)
		_, err = stream.Write([]byte("first"))
		require.NoError(t, err)
		assert.Equal(t, "first", <-got)
		buf := make([]byte, 10)
		n, err := stream.Read(buf)
		require.NoError(t, err)
		assert.Equal(t, "old", string(buf[:n]))
		require.NoError(t, stream.Close())
		opt.SetPeer("bad")
		_, err = s.end.OpenStream(opt)
		var refused *geminio.RefusedError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, "not today", refused.Text)
	})
}

func TestStreamsOfThePeer(t *testing.T) {
	var got chan string
	lag := func(c *config) {
		got = make(chan string, 10)
		c.peer.Lag = 5 * time.Millisecond
		c.peer.Raw = func(_ *oldpeer.Session, b []byte) { got <- string(b) }
		c.serve.AcceptStreamFunc = nil
	}
	eachRole(t, lag, func(t *testing.T, s *setup) {
		for range 20 {
			session, err := s.peer.Open(t.Context(), "pp", []byte("sm"))
			require.NoError(t, err)
			stream := s.accept()
			assert.Equal(t, "pp sm", stream.Peer()+" "+string(stream.Meta()))
			if s.end.Side() == geminio.RecipientSide {
				assert.Equal(t, session.ID, stream.StreamID(), "the id that the server has chosen")
			}
			stream.Write([]byte("at once"))
			assert.Equal(t, "at once", <-got)
			session.Write([]byte("hello"))
			buf := make([]byte, 10)
			n, err := stream.Read(buf)
			require.NoError(t, err)
			assert.Equal(t, "hello", string(buf[:n]))
			require.NoError(t, session.Dismiss(t.Context()))
			_, err = stream.Read(buf)
			assert.Equal(t, io.EOF, err)
			assert.NoError(t, stream.Close())
		}
		assert.Zero(t, s.peer.Lost())
		assert.Len(t, s.end.ListStreams(), 1)
	})
}

// A peer writes before the client knows the session. All bytes arrive.
func TestNothingIsLostBehindTheSessionAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan string, 100)
		c := &config{server: true}
		c.peer.Lag = 19 * time.Millisecond
		c.peer.Raw = func(_ *oldpeer.Session, b []byte) { got <- string(b) }
		c.serve.AcceptStreamFunc = func(s geminio.Stream) {
			s.Write([]byte("first"))
			s.Close()
		}
		s := connect(t, c)
		defer s.close()
		for range 10 {
			session, err := s.peer.Open(t.Context(), "", nil)
			require.NoError(t, err)
			assert.Equal(t, "first", <-got)
			<-session.Ended()
		}
		assert.Zero(t, s.peer.Lost())
	})
}

func TestHalfClose(t *testing.T) {
	eachRole(t, nil, func(t *testing.T, s *setup) {
		session, err := s.peer.Open(t.Context(), "", nil)
		require.NoError(t, err)
		stream := s.accept()
		require.NoError(t, geminio.CloseWrite(stream))
		session.Write([]byte("still"))
		buf := make([]byte, 10)
		n, err := stream.Read(buf)
		require.NoError(t, err)
		assert.Equal(t, "still", string(buf[:n]))
		synctest.Wait()
		select {
		case <-session.Ended():
			t.Fatal("one direction of the stream is still open")
		default:
		}
		require.NoError(t, stream.Close())
		<-session.Ended()
	})
}

func TestDeadlines(t *testing.T) {
	for _, skew := range []time.Duration{0, time.Hour, -time.Hour, 3 * time.Second, -3 * time.Second} {
		var left chan time.Duration
		skewed := func(c *config) {
			left = make(chan time.Duration, 1)
			c.peer.Skew = skew
			c.peer.Handle = func(ctx context.Context, _ *oldpeer.Session, p wire1.Packet) ([]byte, error) {
				at, _ := ctx.Deadline()
				left <- time.Until(at)
				time.Sleep(4 * time.Second)
				return nil, ctx.Err()
			}
		}
		t.Run(skew.String(), func(t *testing.T) {
			eachRole(t, skewed, func(t *testing.T, s *setup) {
				require.NoError(t, s.peer.Register(t.Context(), "learn"))
				opt := options.Call()
				opt.SetTimeout(5 * time.Second)
				if s.end.Side() == geminio.RecipientSide || skew <= 0 {
					_, err := s.end.Call(t.Context(), "m", s.end.NewRequest(nil), opt)
					assert.NoError(t, err)
					assert.GreaterOrEqual(t, <-left, 5*time.Second)
				}
				s.end.Register(t.Context(), "m", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
					assert.GreaterOrEqual(t, req.Timeout(), 5*time.Second)
					assert.Less(t, req.Timeout(), 7*time.Second)
					time.Sleep(4 * time.Second)
					resp.SetError(ctx.Err())
				})
				_, err := s.peer.Call(s.within(5*time.Second), "m", nil)
				assert.NoError(t, err)
			})
		})
	}
}

func TestCancel(t *testing.T) {
	for name, newer := range map[string]bool{"1.1": false, "1.3": true} {
		t.Run(name, func(t *testing.T) {
			var ended chan struct{}
			cfg := func(c *config) {
				ended = make(chan struct{}, 10)
				c.peer.Newer = newer
				c.peer.Handle = func(ctx context.Context, s *oldpeer.Session, p wire1.Packet) ([]byte, error) {
					<-ctx.Done()
					ended <- struct{}{}
					return nil, ctx.Err()
				}
			}
			eachRole(t, cfg, func(t *testing.T, s *setup) {
				gone := make(chan struct{}, 1)
				s.end.Register(t.Context(), "wait", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
					<-ctx.Done()
					gone <- struct{}{}
				})
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				_, err := s.peer.Call(ctx, "wait", nil)
				assert.Equal(t, context.Canceled, err)
				if newer {
					<-gone
				}
				ctx, cancel = context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				_, err = s.end.Call(ctx, "wait", s.end.NewRequest(nil))
				assert.Equal(t, context.Canceled, err)
				synctest.Wait()
				assert.Equal(t, newer, len(ended) == 1, "sessions that the End has ended; only new peers understand that")
				assert.NoError(t, s.peer.Err())
				if newer {
					<-ended
				}
			})
		})
	}
}

func TestLargePayloads(t *testing.T) {
	var got chan int
	take := func(c *config) {
		got = make(chan int, 1000)
		c.peer.Handle = echo
		c.peer.Raw = func(_ *oldpeer.Session, b []byte) { got <- len(b) }
	}
	eachRole(t, take, func(t *testing.T, s *setup) {
		large := bytes.Repeat([]byte("x"), kit.Amount("pipe", 7<<20))
		resp, err := s.end.Call(t.Context(), "same", s.end.NewRequest(large))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(large, resp.Data()))
		assert.NoError(t, s.end.Publish(t.Context(), s.end.NewMessage(large)))
		tooLarge := make([]byte, 8<<20)
		_, err = s.end.Call(t.Context(), "same", s.end.NewRequest(tooLarge))
		assert.ErrorIs(t, err, geminio.ErrTooLarge)
		assert.ErrorIs(t, s.end.Publish(t.Context(), s.end.NewMessage(tooLarge)), geminio.ErrTooLarge)

		total := kit.Amount("pipe", 20<<20)
		go s.end.Write(make([]byte, total))
		for total > 0 {
			n := <-got
			assert.LessOrEqual(t, n, 10<<20-8)
			total -= n
		}
		go s.peer.Write(make([]byte, 10<<20-8))
		_, err = io.CopyN(io.Discard, s.end, 10<<20-8)
		assert.NoError(t, err)
		assert.NoError(t, s.peer.Err())
	})
}

// A stream that is not read delays the rest of the connection when the memory budget is used
// up. No byte is lost.
func TestSlowReader(t *testing.T) {
	small := func(c *config) {
		c.limits.SetMaxMessageSize(256 << 10)
		c.limits.SetMaxStreams(16)
		c.limits.SetMemoryBudget(2 << 20)
		echoing(c)
	}
	eachRole(t, small, func(t *testing.T, s *setup) {
		const total = 8 << 20
		slow, err := s.peer.Open(t.Context(), "", nil)
		require.NoError(t, err)
		stream := s.accept()
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			for range total >> 10 {
				slow.Write(make([]byte, 1<<10))
			}
		}()
		time.Sleep(time.Hour)
		select {
		case <-wrote:
			t.Fatal("the End read all bytes, though the stream is not read")
		default:
		}
		assert.NoError(t, geminio.Cause(s.end))
		n, err := io.CopyN(io.Discard, stream, total)
		assert.NoError(t, err)
		assert.EqualValues(t, total, n)
		<-wrote
		_, err = s.end.Call(t.Context(), "echo", s.end.NewRequest(nil))
		assert.NoError(t, err)
	})
}

func TestShutdown(t *testing.T) {
	eachRole(t, echoing, func(t *testing.T, s *setup) {
		go s.end.Call(t.Context(), "sleep", s.end.NewRequest(nil))
		time.Sleep(time.Second)
		done := make(chan error, 1)
		go func() { done <- geminio.Shutdown(t.Context(), s.end) }()
		time.Sleep(time.Second)
		_, err := s.peer.Call(t.Context(), "echo", nil)
		assert.EqualError(t, err, "shutting down")
		assert.EqualError(t, s.peer.Publish(t.Context(), "t", nil), "shutting down")
		_, err = s.peer.Open(t.Context(), "", nil)
		assert.EqualError(t, err, "shutting down")
		assert.Empty(t, done, "Shutdown returned while a call is in flight")
		time.Sleep(time.Minute)
		assert.NoError(t, <-done)
		s.wantEnd(io.EOF)
	})
}
