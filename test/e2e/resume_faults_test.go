package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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

// Streams are written, half closed, stopped, reset and closed while there is no connection.
// The operations return at once, deadlines pass, and the peer sees all of it, in order, when the
// session continues.
func TestStreamsWithoutAConnection(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		t.Run(side, func(t *testing.T) {
			co := client.NewEndOptions()
			co.SetConnectWait(time.Second)
			withSession(t, co, nil, func(t *testing.T, f *resumeTest) {
				var from, to geminio.End = f.c, f.s
				if side == "server" {
					from, to = to, from
				}
				var near, far [5]geminio.Stream
				for i := range near {
					near[i], far[i] = rig.OpenStream(t, from, to)
				}
				blocked := kit.Start(func() error { _, err := far[2].Write(make([]byte, 32<<20)); return err })
				time.Sleep(5 * time.Second)
				f.cut(true)
				start := time.Now()
				for _, s := range near {
					if s != near[4] {
						_, err := s.Write([]byte("words"))
						require.NoError(t, err)
					}
				}
				require.NoError(t, geminio.CloseWrite(near[0]))
				require.NoError(t, near[1].Close())
				require.NoError(t, geminio.CloseRead(near[2]))
				require.NoError(t, geminio.Reset(near[3], 1234, "enough"))
				assert.Zero(t, time.Since(start))
				if side == "client" {
					_, err := from.OpenStream()
					assert.ErrorIs(t, err, geminio.ErrNotConnected)
				}
				opening := options.OpenStream()
				opening.SetTimeout(time.Second)
				_, err := from.OpenStream(opening)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				require.NoError(t, near[4].SetDeadline(time.Now().Add(time.Second)))
				start = time.Now()
				_, err = near[4].Read(make([]byte, 1))
				assert.Equal(t, os.ErrDeadlineExceeded, err)
				assert.Equal(t, time.Second, time.Since(start))
				_, err = near[4].Write(make([]byte, 32<<20))
				assert.Equal(t, os.ErrDeadlineExceeded, err)
				kit.Blocked(t, blocked)
				f.mend()
				time.Sleep(2 * time.Second)
				assert.EqualValues(t, 1, f.c.Stats().Resumes)

				for _, i := range []int{0, 1} {
					p, err := io.ReadAll(far[i])
					assert.NoError(t, err)
					assert.Equal(t, "words", string(p), "stream %d", i)
				}
				_, err = far[0].Write([]byte("answer"))
				assert.NoError(t, err)
				rig.Expect(t, near[0], "answer")
				assert.Error(t, kit.Returned(t, blocked), "CloseRead of the peer")
				rig.Expect(t, far[2], "words")
				_, err = io.ReadAll(far[3])
				var reset *geminio.StreamError
				if assert.ErrorAs(t, err, &reset) {
					assert.EqualValues(t, 1234, reset.Code)
				}
				n, err := from.OpenStream()
				require.NoError(t, err)
				n.Close()
				for _, s := range append(near[:], far[:]...) {
					s.Close()
				}
				time.Sleep(10 * time.Second)
				assert.Len(t, f.c.ListStreams(), 1)
				assert.LessOrEqual(t, len(f.s.ListStreams()), 2, "the last stream was not accepted")
			})
		})
	}
}

// The session is resumed at the moment at which it expires. Either it continues at both sides,
// or it has ended at both sides and the client has a fresh connection. Calls work then.
func TestExpiryAtTheMomentOfAResumption(t *testing.T) {
	const keep = 10 * time.Second
	outcomes := map[uint64]int{}
	for early := -15 * time.Millisecond; early <= 15*time.Millisecond; early += 500 * time.Microsecond {
		for _, longer := range []string{"client", "server", "neither"} {
			co, so := client.NewEndOptions(), server.NewEndOptions()
			co.SetRetryBackoff(10*time.Millisecond, 10*time.Millisecond)
			co.SetResumeKeep(keep)
			so.SetResumeKeep(keep)
			switch longer { // the side whose own time is not over yet
			case "client":
				co.SetResumeKeep(time.Minute)
			case "server":
				so.SetResumeKeep(time.Minute)
			}
			withSession(t, co, so, func(t *testing.T, f *resumeTest) {
				near, far := rig.OpenStream(t, f.c, f.s)
				require.NoError(t, f.s.Register(t.Context(), "echo", rig.Echo))
				time.Sleep(5 * time.Second)
				f.cut(true)
				time.Sleep(keep - early)
				f.mend()
				time.Sleep(5 * time.Second)
				stats := f.c.Stats()
				require.True(t, stats.Connected)
				outcomes[stats.Connections]++
				switch stats.Connections {
				case 1:
					_, err := near.Write([]byte("on"))
					require.NoError(t, err)
					rig.Expect(t, far, "on")
					require.NoError(t, geminio.Cause(f.s))
				case 2:
					_, err := near.Read(make([]byte, 1))
					require.ErrorIs(t, err, geminio.ErrConnectionLost)
					_, err = far.Read(make([]byte, 1))
					require.ErrorIs(t, err, geminio.ErrConnectionLost)
					s, err := f.l.AcceptEnd()
					require.NoError(t, err)
					require.NoError(t, s.Register(t.Context(), "echo", rig.Echo))
					defer s.Close()
				default:
					t.Fatalf("%d connections", stats.Connections)
				}
				_, err := f.c.Call(t.Context(), "echo", f.c.NewRequest(nil))
				require.NoError(t, err)
				require.Zero(t, f.serverStats().Interrupted)
				lines := strings.Join(f.told.take(), ",")
				require.Equal(t, int(stats.Connections), strings.Count(lines, "online"), lines)
				require.Equal(t, int(stats.Connections)-1, strings.Count(strings.ReplaceAll(lines, "client offline", ""), "offline"), lines)
			})
		}
	}
	t.Logf("%d sessions continued, %d did not", outcomes[1], outcomes[2])
	assert.NotZero(t, outcomes[1])
	assert.NotZero(t, outcomes[2])
}

// A callback of interruptions that hangs delays nothing but, at the server, the resumption of its
// own session and, at the client, further callbacks.
func TestCallbacksOfInterruptionsThatHang(t *testing.T) {
	for _, which := range []string{"client interrupted", "client resumed", "interrupted", "resumed"} {
		t.Run(which, func(t *testing.T) {
			withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
				require.NoError(t, f.s.Register(t.Context(), "echo", rig.Echo))
				release := make(chan struct{})
				hang := func(line string) {
					if line == which {
						<-release
					}
				}
				f.told.onLine(hang)
				f.cut(false)
				time.Sleep(5 * time.Second)
				if strings.HasPrefix(which, "client") {
					assert.EqualValues(t, 1, f.c.Stats().Resumes)
					_, err := f.c.Call(t.Context(), "echo", f.c.NewRequest(nil))
					assert.NoError(t, err)
				} else {
					assert.Zero(t, f.c.Stats().Resumes)
				}
				other, err := client.NewEndWithDialer(f.pipes.Dial)
				require.NoError(t, err, "another client")
				s, err := f.l.AcceptEnd()
				require.NoError(t, err)
				other.Close()
				s.Close()
				f.told.onLine(nil)
				close(release)
				time.Sleep(30 * time.Second)
				_, err = f.c.Call(t.Context(), "echo", f.c.NewRequest(nil))
				assert.NoError(t, err)
				assert.EqualValues(t, 1, f.c.Stats().Connections)
			})
		})
		t.Run(which+", and the session ends", func(t *testing.T) {
			withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
				release := make(chan struct{})
				f.told.onLine(func(line string) {
					if line == which {
						<-release
					}
				})
				f.cut(false)
				time.Sleep(keepTime + time.Minute)
				start := time.Now()
				require.NoError(t, f.c.Close())
				require.NoError(t, f.s.Close())
				require.NoError(t, f.l.Close())
				assert.LessOrEqual(t, time.Since(start), 15*time.Second)
				close(release)
			})
		})
	}
}

// failingListener is a PipeListener whose Accept fails while failing is set.
type failingListener struct {
	*kit.PipeListener
	failing atomic.Bool
}

func (l *failingListener) Accept() (net.Conn, error) {
	nc, err := l.PipeListener.Accept()
	if err == nil && l.failing.Load() {
		nc.Close()
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return nc, err
}

// Accept of the server's listener fails for some time while connections are lost. The sessions
// continue when Accept works again.
func TestAcceptFailsDuringCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nl := &failingListener{PipeListener: kit.NewPipeListener()}
		l, err := server.NewListener(nl)
		require.NoError(t, err)
		defer l.Close()
		var link net.Conn
		co := client.NewEndOptions()
		co.SetRetryBackoff(time.Second, time.Second)
		end, err := client.NewRetryEndWithDialer(func() (nc net.Conn, err error) {
			nc, err = nl.Dial()
			link = nc
			return nc, err
		}, co)
		require.NoError(t, err)
		defer end.Close()
		s, err := l.AcceptEnd()
		require.NoError(t, err)
		require.NoError(t, s.Register(t.Context(), "echo", rig.Echo))
		for range 5 {
			nl.failing.Store(true)
			link.Close()
			call := kit.Start(func() error { _, err := end.Call(context.Background(), "echo", end.NewRequest(nil)); return err })
			time.Sleep(8 * time.Second)
			kit.Blocked(t, call)
			nl.failing.Store(false)
			require.NoError(t, <-call)
		}
		stats := end.(*client.RetryEnd).Stats()
		assert.EqualValues(t, 5, stats.Resumes)
		assert.EqualValues(t, 1, stats.Connections)
	})
}

// A thousand clients lose their connections at one moment, three times, while calls are under
// way in both directions. All sessions continue.
func TestThousandClientsAreCutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clients := kit.Amount("pipe", 1000)
		pipes := kit.NewPipeListener()
		l, err := server.NewListener(pipes)
		require.NoError(t, err)
		defer l.Close()
		var mu sync.Mutex
		var links []net.Conn
		dial := func() (net.Conn, error) {
			nc, err := pipes.Dial()
			if err == nil {
				mu.Lock()
				links = append(links, nc)
				mu.Unlock()
			}
			return nc, err
		}
		slow := func(_ context.Context, req geminio.Request, resp geminio.Response) {
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			resp.SetData(req.Data())
		}
		cs, ss := make([]*client.RetryEnd, clients), make([]geminio.End, clients)
		for i := range cs {
			c, err := client.NewRetryEndWithDialer(dial)
			require.NoError(t, err)
			cs[i] = c.(*client.RetryEnd)
			ss[i], err = l.AcceptEnd()
			require.NoError(t, err)
			require.NoError(t, cs[i].Register(t.Context(), "slow", slow))
			require.NoError(t, ss[i].Register(t.Context(), "slow", slow))
		}
		for range 3 {
			var calls sync.WaitGroup
			for i := range cs {
				for _, end := range []geminio.End{cs[i], ss[i]} {
					calls.Go(func() {
						_, err := end.Call(context.Background(), "slow", end.NewRequest([]byte("x")))
						assert.NoError(t, err)
					})
				}
			}
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			for _, nc := range links {
				nc.Close()
			}
			links = nil
			mu.Unlock()
			calls.Wait()
			time.Sleep(time.Second)
		}
		stats := l.(server.ResumeStatser).ResumeStats()
		assert.EqualValues(t, 3*clients, stats.Resumes)
		assert.Zero(t, stats.Interrupted)
		for i := range cs {
			assert.EqualValues(t, 1, cs[i].Stats().Connections)
			cs[i].Close()
			ss[i].Close()
		}
	})
}

// idWatch is a delegate that checks the order of the callbacks for one client id.
type idWatch struct {
	*delegate.UnimplementedDelegate
	t     *testing.T
	alone bool // no two connections are online at a time

	mu     sync.Mutex
	online int
	most   int
	came   int
}

func (w *idWatch) ConnOnline(delegate.ConnDescriber) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.online++
	w.came++
	w.most = max(w.most, w.online)
	if w.alone {
		assert.Equal(w.t, 1, w.online, "connections with one id")
	}
	return nil
}

func (w *idWatch) ConnOffline(delegate.ConnDescriber) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.online--
	assert.GreaterOrEqual(w.t, w.online, 0)
	return nil
}

// Two clients have one id, and their connections are cut at random moments. What the policy says
// about ids holds all the time, and the delegate sees it. In the end nothing is left.
func TestTwoClientsOfOneIDAreCut(t *testing.T) {
	for policy, name := range map[server.DuplicatePolicy]string{
		server.DuplicateReplaces: "replaces", server.DuplicateRefused: "refused", server.DuplicateAllowed: "allowed",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := seeded(t)
				w := &idWatch{t: t, alone: policy != server.DuplicateAllowed}
				pipes := kit.NewPipeListener()
				so := server.NewEndOptions()
				so.SetDuplicateID(policy)
				so.SetDelegate(w)
				so.SetResumeKeep(10 * time.Second)
				so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: rig.Echo})
				l, err := server.NewListener(pipes, so)
				require.NoError(t, err)
				go func() {
					for {
						if _, err := l.AcceptEnd(); err != nil {
							return
						}
					}
				}()
				var mu sync.Mutex
				links := map[net.Conn]bool{}
				var refusals atomic.Int64
				connect := func() *client.RetryEnd {
					co := client.NewEndOptions()
					co.SetClientID(7)
					co.SetRetryBackoff(10*time.Millisecond, time.Second)
					co.SetRetryFirst(t.Context())
					co.SetRetryFailedFunc(func(error) { refusals.Add(1) })
					end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
						nc, err := pipes.Dial()
						if err == nil {
							mu.Lock()
							links[nc] = true
							mu.Unlock()
						}
						return nc, err
					}, co)
					if !assert.NoError(t, err) {
						return nil
					}
					return end.(*client.RetryEnd)
				}
				a := connect()
				second := kit.Start(connect)
				for range kit.Amount("pipe", 500) {
					time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
					mu.Lock()
					for nc := range links {
						if r.IntN(2) == 0 {
							nc.Close()
							delete(links, nc)
						}
					}
					mu.Unlock()
				}
				var b *client.RetryEnd
				time.Sleep(5 * time.Second)
				works := func(c *client.RetryEnd) error {
					opt := options.Call()
					opt.SetTimeout(5 * time.Second)
					_, err := c.Call(context.Background(), "echo", c.NewRequest(nil), opt)
					return err
				}
				switch policy {
				case server.DuplicateAllowed:
					b = kit.Returned(t, second)
					assert.NoError(t, works(a))
					assert.NoError(t, works(b))
					assert.Equal(t, 2, w.online)
				default:
					w.mu.Lock()
					assert.Equal(t, 1, w.online)
					w.mu.Unlock()
					assert.NotZero(t, refusals.Load())
				}
				t.Logf("%d connections, at most %d at a time, %d failed attempts; %+v", w.came, w.most, refusals.Load(), l.(server.ResumeStatser).ResumeStats())
				a.Close()
				if b == nil {
					b = kit.Await(t, time.Hour, "the second client", second)
				}
				assert.NoError(t, works(b), "the one that is left")
				b.Close()
				time.Sleep(time.Minute)
				w.mu.Lock()
				assert.Zero(t, w.online)
				w.mu.Unlock()
				stats := l.(server.ResumeStatser).ResumeStats()
				assert.Zero(t, stats.Interrupted, fmt.Sprint(stats))
				l.Close()
			})
		})
	}
}
