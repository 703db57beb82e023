package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
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
)

// keepTime is how long the sessions of these tests are kept.
const keepTime = 2 * time.Minute

// resumeTest is a RetryEnd of a Listener in a bubble, over pipes that the test can cut.
type resumeTest struct {
	t    *testing.T
	so   *server.EndOptions
	c    *client.RetryEnd
	s    geminio.End // the first End of the server
	told *resumeLog

	mu    sync.Mutex
	l     server.Listener
	pipes *kit.PipeListener
	links []net.Conn    // the client's ends of all pipes
	shut  bool          // dials fail
	hung  chan struct{} // dials wait until it is closed; nil: they do not wait
	dials int
}

// withSession runs a test in a bubble.
func withSession(t *testing.T, co *client.EndOptions, so *server.EndOptions, test func(t *testing.T, f *resumeTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &resumeTest{t: t, told: &resumeLog{}}
		f.so = server.NewEndOptions()
		f.so.SetDelegate(f.told)
		f.so.SetResumeKeep(keepTime)
		f.so = server.MergeEndOptions(f.so, so)
		f.listen()
		opt := client.NewEndOptions()
		opt.SetRetryBackoff(time.Second, time.Second)
		opt.SetResumeKeep(keepTime)
		opt.SetDelegate(&resumeClient{told: f.told})
		c, err := client.NewRetryEndWithDialer(f.dial, opt, co)
		require.NoError(t, err)
		f.c = c.(*client.RetryEnd)
		defer f.c.Close()
		f.s, err = f.l.AcceptEnd()
		require.NoError(t, err)
		defer f.s.Close()
		defer func() { f.l.Close() }()
		time.Sleep(5 * time.Second) // both sides have reported what they have received
		test(t, f)
	})
}

// listen starts a server, in place of the one that was there.
func (f *resumeTest) listen() {
	pipes := kit.NewPipeListener()
	l, err := server.NewListener(pipes, f.so)
	require.NoError(f.t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.l, f.pipes = l, pipes
}

// dial is a client.Dialer.
func (f *resumeTest) dial() (net.Conn, error) {
	f.mu.Lock()
	f.dials++
	shut, pipes, hung := f.shut, f.pipes, f.hung
	f.mu.Unlock()
	if hung != nil {
		<-hung
		return nil, errDialerClosed
	}
	if shut {
		return nil, errDialerClosed
	}
	nc, err := pipes.Dial()
	if err == nil {
		f.mu.Lock()
		nc = newMutable(nc)
		f.links = append(f.links, nc)
		f.mu.Unlock()
	}
	return nc, err
}

// cut closes all pipes. If shut is true, dials fail until mend is called.
func (f *resumeTest) cut(shut bool) {
	f.mu.Lock()
	f.shut = shut
	for _, nc := range f.links {
		nc.Close()
	}
	f.links = nil
	f.mu.Unlock()
	synctest.Wait()
}

// mend makes dials succeed.
func (f *resumeTest) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut = false
}

// hang has dials wait, or ends that.
func (f *resumeTest) hang(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if on {
		f.hung = make(chan struct{})
	} else {
		close(f.hung)
		f.hung = nil
	}
}

// dialed returns the number of dials.
func (f *resumeTest) dialed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

func (f *resumeTest) serverStats() server.ResumeStats {
	return f.l.(server.ResumeStatser).ResumeStats()
}

// resumeLog is a delegate of the server that records its callbacks.
type resumeLog struct {
	*delegate.UnimplementedDelegate

	mu       sync.Mutex
	lines    []string
	identify func() (uint64, error) // the answer of GetClientID; nil: 0
	resumed  func() error           // the answer of ConnResumed; nil: none
	misdeed  func()                 // is called by the other callbacks of interruptions; nil: none
	noted    func(line string)      // is called by each callback; nil: none
}

func (d *resumeLog) note(line string) {
	d.mu.Lock()
	d.lines = append(d.lines, line)
	f := d.noted
	d.mu.Unlock()
	if f != nil {
		f(line)
	}
}

// onLine has each callback call f with its line.
func (d *resumeLog) onLine(f func(line string)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.noted = f
}

// take returns the callbacks since the last call of take.
func (d *resumeLog) take() []string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// answer sets the answers of GetClientID and ConnResumed.
func (d *resumeLog) answer(identify func() (uint64, error), resumed func() error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.identify, d.resumed = identify, resumed
}

// misbehave has the other callbacks of interruptions call f.
func (d *resumeLog) misbehave(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.misdeed = f
}

// noteAndMisbehave notes a line and calls the function of misbehave.
func (d *resumeLog) noteAndMisbehave(line string) {
	d.note(line)
	d.mu.Lock()
	f := d.misdeed
	d.mu.Unlock()
	if f != nil {
		f()
	}
}

func (d *resumeLog) GetClientID(uint64, []byte) (uint64, error) {
	d.mu.Lock()
	f := d.identify
	d.mu.Unlock()
	if f == nil {
		return 0, nil
	}
	return f()
}

func (d *resumeLog) ConnOnline(delegate.ConnDescriber) error          { d.note("online"); return nil }
func (d *resumeLog) ConnOffline(delegate.ConnDescriber) error         { d.note("offline"); return nil }
func (d *resumeLog) ConnInterrupted(delegate.ConnDescriber)           { d.noteAndMisbehave("interrupted") }
func (d *resumeLog) DialogueOffline(delegate.DialogueDescriber) error { return nil }

func (d *resumeLog) ConnResumed(delegate.ConnDescriber) error {
	d.note("resumed")
	d.mu.Lock()
	f := d.resumed
	d.mu.Unlock()
	if f == nil {
		return nil
	}
	return f()
}

// resumeClient notes the callbacks of the client that tell of connections.
type resumeClient struct {
	*delegate.UnimplementedDelegate
	told *resumeLog
}

func (c *resumeClient) EndReOnline(delegate.ClientDescriber) { c.told.note("again") }
func (c *resumeClient) ConnOffline(delegate.ConnDescriber) error {
	c.told.note("client offline")
	return nil
}
func (c *resumeClient) ConnInterrupted(delegate.ConnDescriber) {
	c.told.noteAndMisbehave("client interrupted")
}
func (c *resumeClient) ConnResumed(delegate.ConnDescriber) error {
	c.told.noteAndMisbehave("client resumed")
	return nil
}

// Registrations, the hijack, deadlines, half closed directions and calls under way survive a
// cut. One round trip resumes the session, at once.
func TestSettingsSurviveACut(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		ctx := context.Background()
		release := make(chan struct{})
		require.NoError(t, f.s.Register(ctx, "slow", func(_ context.Context, req geminio.Request, resp geminio.Response) {
			<-release
			resp.SetData(req.Data())
		}))
		require.NoError(t, f.c.Register(ctx, "echo", echo))
		require.NoError(t, f.c.Hijack(echoHijack, hijackMatching("any.*")))
		near, err := f.c.OpenStream()
		require.NoError(t, err)
		far, err := f.s.AcceptStream()
		require.NoError(t, err)
		require.NoError(t, near.SetReadDeadline(time.Now().Add(time.Minute)))
		require.NoError(t, geminio.CloseWrite(near))
		call := kit.Start(func() error {
			_, err := f.c.Call(ctx, "slow", f.c.NewRequest(nil))
			return err
		})
		read := kit.Start(func() error {
			_, err := near.Read(make([]byte, 1))
			return err
		})
		start := time.Now()
		synctest.Wait()
		f.told.take()
		dials := f.dialed()
		f.cut(false)
		time.Sleep(50 * time.Millisecond)
		assert.Equal(t, []string{"client interrupted", "interrupted", "resumed", "client resumed"}, sorted(f.told.take(), "client interrupted"))
		assert.Equal(t, dials+1, f.dialed())
		assert.EqualValues(t, 1, f.c.Stats().Connections)
		for _, method := range []string{"echo", "anything"} {
			_, err = f.s.Call(ctx, method, f.s.NewRequest(nil))
			assert.NoError(t, err, method)
		}
		close(release)
		assert.NoError(t, <-call)
		_, err = far.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err, "CloseWrite from before the cut")
		assert.Equal(t, os.ErrDeadlineExceeded, <-read)
		assert.Equal(t, time.Minute, time.Since(start), "the deadline has run on")
	})
}

// sorted returns lines with the first one that equals first in front: the callbacks of two
// sides are not ordered.
func sorted(lines []string, first string) []string {
	for i, line := range lines {
		if line == first {
			copy(lines[1:i+1], lines[:i])
			lines[0] = first
			break
		}
	}
	return lines
}

// echo answers with what it got.
func echo(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }

// A server that was started anew does not know the session. The attempt to resume it makes
// a fresh connection with one dial; operations end as without sessions.
func TestServerStartedAnewIsFreshAtOnce(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		ctx := context.Background()
		require.NoError(t, f.s.Register(ctx, "hang", hangUp))
		call := kit.Start(func() error {
			_, err := f.c.Call(ctx, "hang", f.c.NewRequest(nil))
			return err
		})
		time.Sleep(5 * time.Second)
		f.cut(true)
		old := f.l
		f.listen()
		f.mend()
		dials := f.dialed()
		go old.Close()
		f.told.take()
		time.Sleep(10 * time.Second)
		s, err := f.l.AcceptEnd()
		require.NoError(t, err)
		assert.LessOrEqual(t, f.dialed(), dials+2, "a dial that failed, and one")
		err = <-call
		assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
		assert.ErrorContains(t, err, "does not know the session")
		stats := f.c.Stats()
		assert.EqualValues(t, 2, stats.Connections)
		assert.Equal(t, client.RetryFallbacks{Unknown: 1}, stats.Fallbacks)
		assert.Contains(t, f.told.take(), "again")
		assert.EqualValues(t, 1, f.serverStats().Unknown)
		s.Close()
	})
}

// hangUp never answers.
func hangUp(ctx context.Context, _ geminio.Request, resp geminio.Response) {
	<-ctx.Done()
	resp.SetError(ctx.Err())
}

// A request that the server has not received, of a session that the server has ended, was
// not executed: the RetryEnd makes it again. Without sessions it may have been executed.
func TestRequestsBehindTheLastReceivedByteAreNotExecuted(t *testing.T) {
	for _, size := range []int{10, 300 << 10} {
		withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
			ctx := context.Background()
			var executed atomic.Int64
			count := func(_ context.Context, req geminio.Request, resp geminio.Response) { executed.Add(1) }
			require.NoError(t, f.s.Register(ctx, "count", count))
			require.NoError(t, f.s.Register(ctx, "hang", hangUp))
			hanging := kit.Start(func() error {
				_, err := f.c.Call(ctx, "hang", f.c.NewRequest(nil))
				return err
			})
			time.Sleep(5 * time.Second)
			f.told.answer(func() (uint64, error) { return 4711, nil }, nil) // ends the session
			f.deafen()
			call := kit.Start(func() error {
				_, err := f.c.Call(ctx, "count", f.c.NewRequest(make([]byte, size)))
				return err
			})
			time.Sleep(time.Second)
			f.cut(false)
			s, err := f.l.AcceptEnd()
			require.NoError(t, err)
			require.NoError(t, s.Register(ctx, "count", count))
			assert.ErrorIs(t, <-hanging, geminio.ErrMaybeExecuted, "the server has received that")
			err = <-call
			if err != nil { // the method was not registered yet
				var no *geminio.RemoteError
				require.ErrorAs(t, err, &no)
				assert.Equal(t, geminio.CodeNoMethod, no.Code)
			}
			assert.Equal(t, client.RetryFallbacks{Ended: 1}, f.c.Stats().Fallbacks)
			assert.EqualValues(t, 4711, f.c.ClientID())
			assert.LessOrEqual(t, executed.Load(), int64(1))
			s.Close()
		})
	}
}

// deafen has the server receive nothing more over the present pipes.
func (f *resumeTest) deafen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.t.Helper()
	for _, nc := range f.links {
		nc.(*mutable).mute()
	}
}

// An error of GetClientID or ConnResumed refuses the attempt and leaves the session as it
// is; the next attempt resumes it.
func TestRefusedResumptionLeavesTheSession(t *testing.T) {
	for _, name := range []string{"GetClientID", "ConnResumed"} {
		t.Run(name, func(t *testing.T) {
			var failures atomic.Int64
			co := client.NewEndOptions()
			co.SetRetryFailedFunc(func(err error) {
				var refused *geminio.RefusedError
				if errors.As(err, &refused) && refused.Text == "not now" {
					failures.Add(1)
				}
			})
			withSession(t, co, nil, func(t *testing.T, f *resumeTest) {
				failures.Store(0)
				no := errors.New("not now")
				if name == "GetClientID" {
					f.told.answer(func() (uint64, error) { return 0, no }, nil)
				} else {
					f.told.answer(nil, func() error { return no })
				}
				f.cut(false)
				time.Sleep(10 * time.Second)
				assert.Greater(t, failures.Load(), int64(2))
				assert.False(t, f.c.Stats().Connected)
				f.told.answer(nil, nil)
				time.Sleep(2 * time.Second)
				assert.True(t, f.c.Stats().Connected)
				assert.EqualValues(t, 1, f.c.Stats().Connections)
				lines := f.told.take()
				assert.NotContains(t, lines, "offline")
				assert.Equal(t, "online", lines[0])
			})
		})
	}
}

// A session without a connection ends after its time on both sides, with one ConnOffline.
func TestSessionEndsAfterItsTime(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.told.take()
		f.cut(true)
		time.Sleep(keepTime - time.Second)
		assert.NotContains(t, f.told.take(), "offline")
		assert.Equal(t, 1, f.serverStats().Interrupted)
		time.Sleep(2 * time.Second)
		lines := f.told.take()
		assert.Contains(t, lines, "offline")
		assert.Contains(t, lines, "client offline")
		stats := f.serverStats()
		assert.Zero(t, stats.Interrupted)
		assert.Zero(t, stats.HeldBytes)
		assert.EqualValues(t, 1, stats.Expired)
		assert.Equal(t, io.ErrUnexpectedEOF, geminio.Cause(f.s))
		f.mend()
		time.Sleep(2 * time.Second)
		assert.Equal(t, client.RetryFallbacks{Expired: 1}, f.c.Stats().Fallbacks)
	})
}

// Close of an End at the server that has no connection delivers the written bytes, within the
// time for lingering. ConnOffline is called at once, and no callback of the End after it.
func TestCloseOfAnInterruptedEnd(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.cut(true)
		f.told.take()
		start := time.Now()
		require.NoError(t, f.s.Close())
		assert.Zero(t, time.Since(start), "the client has everything")
		assert.Equal(t, []string{"offline"}, f.told.take())
		assert.Zero(t, f.serverStats().Interrupted)
		f.mend()
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.cut(true)
		f.told.take()
		_, err := f.s.Write([]byte("the last words"))
		require.NoError(t, err)
		closed := kit.Start(f.s.Close)
		time.Sleep(2 * time.Second)
		assert.Equal(t, []string{"offline"}, f.told.take())
		assert.Equal(t, 1, f.serverStats().Interrupted, "it counts as long as it can be resumed")
		f.mend()
		require.NoError(t, <-closed)
		p := make([]byte, 100)
		n, err := io.ReadFull(f.c, p)
		assert.Equal(t, "the last words", string(p[:n]))
		assert.Equal(t, io.ErrUnexpectedEOF, err, "an orderly end")
		time.Sleep(2 * time.Second)
		assert.Equal(t, []string{"client resumed", "client offline", "online", "again"}, f.told.take())
		assert.Equal(t, server.ResumeStats{Interruptions: 1, Resumes: 1, ReplayedBytes: f.serverStats().ReplayedBytes}, f.serverStats())
		assert.Equal(t, client.RetryFallbacks{}, f.c.Stats().Fallbacks)
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.cut(true)
		_, err := f.s.Write([]byte("the last words"))
		require.NoError(t, err)
		start := time.Now()
		require.NoError(t, f.s.Close())
		assert.Equal(t, 5*time.Second, time.Since(start), "the time for lingering")
		assert.Zero(t, f.serverStats().Interrupted)
		assert.Zero(t, f.serverStats().HeldBytes)
		f.mend()
	})
}

// A connection that is lost after Close of the server's End is resumed, until the client has what
// was written.
func TestCutAfterCloseOfTheServer(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.deafenServer()
		_, err := f.s.Write([]byte("the last words"))
		require.NoError(t, err)
		closed := kit.Start(f.s.Close)
		time.Sleep(time.Second)
		f.cut(false)
		p := make([]byte, 100)
		n, err := io.ReadFull(f.c, p)
		assert.Equal(t, "the last words", string(p[:n]))
		assert.Equal(t, io.ErrUnexpectedEOF, err, "an orderly end")
		assert.NoError(t, <-closed)
		assert.Equal(t, 1, count(f.told.take(), "offline"))
	})
}

// A connection that is lost after Close of the client's End is resumed as often as necessary, until
// the server has the written bytes.
func TestCutAfterCloseOfTheClient(t *testing.T) {
	for _, cuts := range []int{1, 2, 3} {
		withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
			f.deafen()
			_, err := f.c.Write([]byte("the last words"))
			require.NoError(t, err)
			closed := kit.Start(f.c.Close)
			for range cuts {
				time.Sleep(time.Second)
				f.cut(false)
			}
			p := make([]byte, 100)
			n, err := io.ReadFull(f.s, p)
			assert.Equal(t, "the last words", string(p[:n]))
			assert.Equal(t, io.ErrUnexpectedEOF, err, "an orderly end")
			assert.NoError(t, <-closed)
			lines := f.told.take()
			assert.Equal(t, 1, count(lines, "offline"))
			assert.Zero(t, count(lines, "client interrupted"), "after ConnOffline")
		})
	}
}

// count returns how many of lines are equal to line.
func count(lines []string, line string) (n int) {
	for _, l := range lines {
		if l == line {
			n++
		}
	}
	return n
}

// A client that takes over the id of an End that closes gets it. The undelivered bytes of that
// End can still be fetched.
func TestIDOfAnInterruptedEndThatCloses(t *testing.T) {
	for _, policy := range []server.DuplicatePolicy{server.DuplicateReplaces, server.DuplicateRefused, server.DuplicateAllowed} {
		co, so := client.NewEndOptions(), server.NewEndOptions()
		co.SetClientID(7)
		so.SetDuplicateID(policy)
		withSession(t, co, so, func(t *testing.T, f *resumeTest) {
			f.cut(true)
			_, err := f.s.Write([]byte("the last words"))
			require.NoError(t, err)
			closed := kit.Start(f.s.Close)
			synctest.Wait()
			other, err := client.NewEndWithDialer(f.pipes.Dial, co)
			require.NoError(t, err)
			assert.EqualValues(t, 7, other.ClientID())
			s, err := f.l.AcceptEnd()
			require.NoError(t, err)
			f.mend()
			require.NoError(t, <-closed)
			p := make([]byte, 100)
			n, err := io.ReadFull(f.c, p)
			assert.Equal(t, "the last words", string(p[:n]))
			assert.Equal(t, io.ErrUnexpectedEOF, err)
			f.c.Close()
			other.Close()
			s.Close()
		})
	}
}

// After Close a session cannot be resumed. The next connection has another session.
func TestClosedSessionIsNotResumed(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		require.NoError(t, f.s.Close())
		time.Sleep(2 * time.Second)
		s, err := f.l.AcceptEnd()
		require.NoError(t, err)
		assert.NotSame(t, f.s, s)
		stats := f.c.Stats()
		assert.EqualValues(t, 2, stats.Connections)
		assert.Zero(t, stats.Resumes)
		assert.Zero(t, stats.Fallbacks)
		s.Close()
	})
}

// Close without a connection makes one attempt to tell the server if the server has everything
// and no stream is open.
func TestCloseWithoutAConnectionTellsTheServer(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.cut(true)
		dials := f.dialed()
		start := time.Now()
		require.NoError(t, f.c.Close())
		assert.LessOrEqual(t, time.Since(start), 50*time.Millisecond, "one attempt, which has failed")
		time.Sleep(keepTime + time.Second)
		assert.LessOrEqual(t, f.dialed(), dials+1)
		assert.Contains(t, f.told.take(), "offline", "after the time for keeping")
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.cut(true)
		f.mend()
		start := time.Now()
		require.NoError(t, f.c.Close())
		assert.LessOrEqual(t, time.Since(start), 50*time.Millisecond)
		assert.Contains(t, f.told.take(), "offline", "at once")
		assert.Equal(t, io.EOF, geminio.Cause(f.s), "an orderly end")
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.hang(true)
		f.cut(false)
		start := time.Now()
		require.NoError(t, f.c.Close())
		assert.Equal(t, 5*time.Second, time.Since(start), "an attempt that hangs ends with the time for lingering")
		f.hang(false)
	})
}

// Close without a connection tells the server within the time for lingering if a stream is open:
// its reader learns that no byte is missing.
func TestCloseWithoutAConnectionEndsStreams(t *testing.T) {
	open := func(f *resumeTest) (near, far geminio.Stream) {
		near, err := f.c.OpenStream()
		require.NoError(f.t, err)
		far, err = f.s.AcceptStream()
		require.NoError(f.t, err)
		_, err = near.Write([]byte("all words"))
		require.NoError(f.t, err)
		time.Sleep(5 * time.Second)
		f.cut(true)
		return near, far
	}
	check := func(t *testing.T, s geminio.Stream) {
		p, err := io.ReadAll(s)
		assert.Equal(t, "all words", string(p))
		assert.NoError(t, err, "complete")
	}
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		_, far := open(f)
		closed := kit.Start(f.c.Close)
		time.Sleep(2 * time.Second)
		f.mend()
		assert.NoError(t, <-closed)
		check(t, far)
		assert.Equal(t, io.EOF, geminio.Cause(f.s))
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		_, far := open(f)
		start := time.Now()
		require.NoError(t, f.c.Close())
		assert.Equal(t, 5*time.Second, time.Since(start), "the time for lingering")
		p, err := io.ReadAll(far)
		assert.Equal(t, "all words", string(p))
		assert.ErrorIs(t, err, geminio.ErrConnectionLost)
		assert.Less(t, time.Since(start), keepTime+10*time.Second)
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		near, far := open(f)
		_, err := far.Write([]byte("all words"))
		require.NoError(t, err)
		closed := kit.Start(f.s.Close)
		f.mend()
		assert.NoError(t, <-closed)
		check(t, near)
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		near, _ := open(f)
		closed := kit.Start(f.s.Close) // nothing but the end itself is not delivered
		time.Sleep(2 * time.Second)
		f.mend()
		assert.NoError(t, <-closed)
		_, err := near.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
	})
}

// Close without a connection connects within the time for lingering if the server has not
// received everything, and delivers.
func TestCloseWithoutAConnection(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		near, err := f.c.OpenStream()
		require.NoError(t, err)
		far, err := f.s.AcceptStream()
		require.NoError(t, err)
		time.Sleep(5 * time.Second)
		f.cut(true)
		_, err = near.Write([]byte("the last words"))
		require.NoError(t, err)
		closed := kit.Start(f.c.Close)
		time.Sleep(2 * time.Second)
		f.mend()
		require.NoError(t, <-closed)
		p, err := io.ReadAll(far)
		assert.Equal(t, "the last words", string(p))
		assert.NoError(t, err)
		assert.Equal(t, io.EOF, geminio.Cause(f.s))
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		near, err := f.c.OpenStream()
		require.NoError(t, err)
		f.cut(true)
		_, err = near.Write([]byte("the last words"))
		require.NoError(t, err)
		start := time.Now()
		require.NoError(t, f.c.Close())
		assert.Equal(t, 5*time.Second, time.Since(start), "the time for lingering")
	})
}

// A Listener that is shut down still continues its sessions, and refuses others.
func TestDrainingListenerContinuesItsSessions(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		ctx := context.Background()
		release := make(chan struct{})
		require.NoError(t, f.s.Register(ctx, "slow", func(context.Context, geminio.Request, geminio.Response) { <-release }))
		call := kit.Start(func() error {
			_, err := f.c.Call(ctx, "slow", f.c.NewRequest(nil))
			return err
		})
		synctest.Wait()
		down := kit.Start(func() error { return geminio.Shutdown(ctx, f.l) })
		synctest.Wait()
		_, err := client.NewEndWithDialer(f.pipes.Dial)
		assert.ErrorIs(t, err, geminio.ErrGoingAway)
		f.cut(false)
		time.Sleep(2 * time.Second)
		assert.EqualValues(t, 1, f.c.Stats().Resumes)
		close(release)
		assert.NoError(t, <-call)
		assert.NoError(t, <-down)
		_, err = f.pipes.Dial()
		assert.Error(t, err)
	})
}

// Close of a Listener ends its Ends without a connection, and those that lose it later.
func TestClosedListenerKeepsNoSessions(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.cut(true)
		require.NoError(t, f.l.Close())
		assert.Contains(t, f.told.take(), "offline")
	})
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		require.NoError(t, f.l.Close())
		assert.NoError(t, geminio.Cause(f.s))
		f.cut(true)
		assert.Contains(t, f.told.take(), "offline")
	})
}

// A client that takes over the id of an interrupted one ends that session at once, unless
// several may have the id.
func TestDuplicateIDsOfInterruptedSessions(t *testing.T) {
	for policy, ends := range map[server.DuplicatePolicy]bool{
		server.DuplicateReplaces: true, server.DuplicateRefused: true, server.DuplicateAllowed: false,
	} {
		co, so := client.NewEndOptions(), server.NewEndOptions()
		co.SetClientID(7)
		so.SetDuplicateID(policy)
		withSession(t, co, so, func(t *testing.T, f *resumeTest) {
			f.cut(true)
			other, err := client.NewEndWithDialer(f.pipes.Dial, co)
			require.NoError(t, err)
			assert.EqualValues(t, 7, other.ClientID())
			if ends {
				assert.ErrorIs(t, geminio.Cause(f.s), geminio.ErrReplaced)
				assert.Equal(t, []string{"offline", "online"}, lastOf(f.told.take(), 2))
			} else {
				assert.NoError(t, geminio.Cause(f.s))
			}
			other.Close()
			s, err := f.l.AcceptEnd()
			require.NoError(t, err)
			s.Close()
		})
	}
}

func lastOf(lines []string, n int) []string { return lines[max(len(lines)-n, 0):] }

// The client may notice a cut first, while the server takes the old connection for alive.
// When that one dies, the session continues on the new one, and another cut is survived.
func TestServerNoticesTheCutLater(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		f.mu.Lock()
		old := f.links[0].(*mutable)
		f.links = nil
		f.mu.Unlock()
		old.fail() // for the client alone
		time.Sleep(2 * time.Second)
		assert.EqualValues(t, 1, f.c.Stats().Resumes)
		assert.NotContains(t, f.told.take(), "interrupted", "the client was faster")
		old.Conn.Close()
		time.Sleep(2 * time.Minute)
		assert.EqualValues(t, 1, f.c.Stats().Resumes, "the death of the old connection does nothing")
		f.cut(false)
		time.Sleep(2 * time.Second)
		assert.EqualValues(t, 2, f.c.Stats().Resumes)
		_, err := f.c.Call(context.Background(), "none", f.c.NewRequest(nil))
		assert.ErrorContains(t, err, "no such rpc")
	})
}

// A server that answers with garbage is not dialed without a pause.
func TestGarbageForAnAnswerBacksOff(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		pipes := kit.NewPipeListener()
		defer pipes.Close()
		go func() {
			for {
				nc, err := pipes.Accept()
				if err != nil {
					return
				}
				go io.Copy(io.Discard, nc)
				nc.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
				nc.Close()
			}
		}()
		f.mu.Lock()
		real := f.pipes
		f.pipes = pipes
		f.mu.Unlock()
		dials := f.dialed()
		f.cut(false)
		time.Sleep(time.Minute)
		assert.Less(t, f.dialed()-dials, 200)
		f.mu.Lock()
		f.pipes = real
		f.mu.Unlock()
		time.Sleep(2 * time.Second)
		assert.EqualValues(t, 1, f.c.Stats().Resumes)
		assert.EqualValues(t, 1, f.c.Stats().Connections)
	})
}

// Operations that begin while the session is interrupted wait as without a session, and are
// done when it continues.
func TestOperationsBeginDuringAnInterruption(t *testing.T) {
	withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
		ctx := context.Background()
		require.NoError(t, f.s.Register(ctx, "echo", echo))
		f.cut(true)
		call := kit.Start(func() error {
			_, err := f.c.Call(ctx, "echo", f.c.NewRequest(nil))
			return err
		})
		opened := kit.Start(func() error {
			_, err := f.c.OpenStream(options.OpenStream())
			return err
		})
		synctest.Wait()
		assert.Equal(t, 2, f.c.Stats().Waiting)
		f.mend()
		assert.NoError(t, <-call)
		assert.NoError(t, <-opened)
		assert.Zero(t, f.c.Stats().Waiting)
	})
}

// Callbacks of interruptions that panic, end their goroutine or return odd errors cost one
// attempt at most.
func TestCallbacksOfInterruptionsThatMisbehave(t *testing.T) {
	for how, misdeed := range misdeeds {
		t.Run(how, func(t *testing.T) {
			withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
				var served, misbehaved atomic.Int64
				first := func() error {
					if served.Add(1) > 1 {
						return nil
					}
					return misdeed()
				}
				f.told.answer(nil, first)
				f.told.misbehave(func() {
					misbehaved.Add(1)
					misdeed()
				})
				for n := range 3 {
					f.cut(false)
					time.Sleep(5 * time.Second)
					assert.EqualValues(t, n+1, f.c.Stats().Resumes)
				}
				assert.GreaterOrEqual(t, served.Load(), int64(3))
				assert.GreaterOrEqual(t, misbehaved.Load(), int64(6), "the callbacks of both sides")
				assert.EqualValues(t, 1, f.c.Stats().Connections)
			})
		})
	}
}

// mutable is a net.Conn whose writes a test can discard, and whose reads it can fail.
type mutable struct {
	net.Conn
	mu     sync.Mutex
	muted  bool // writes are discarded
	deaf   bool // what arrives is discarded
	failed chan struct{}
	once   sync.Once
}

func newMutable(nc net.Conn) *mutable { return &mutable{Conn: nc, failed: make(chan struct{})} }

func (m *mutable) mute() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.muted = true
}

func (m *mutable) Write(p []byte) (int, error) {
	m.mu.Lock()
	muted := m.muted
	m.mu.Unlock()
	if muted {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

// Read discards what arrives after silence.
func (m *mutable) Read(p []byte) (int, error) {
	for {
		n, err := m.Conn.Read(p)
		m.mu.Lock()
		muted := m.deaf
		m.mu.Unlock()
		if !muted || err != nil {
			return n, err
		}
	}
}

// fail has Read return an error, and Close do nothing: the peer does not notice.
func (m *mutable) fail() {
	m.once.Do(func() { close(m.failed) })
	m.Conn.SetReadDeadline(time.Unix(1, 0))
}

func (m *mutable) Close() error {
	select {
	case <-m.failed:
		return nil
	default:
		return m.Conn.Close()
	}
}

// A peer that is gone is noticed after two heartbeats, and its session ends after the time
// for which it is kept: every blocked operation returns by then, and ConnOffline is called
// once at each side.
func TestDeadPeerOfASession(t *testing.T) {
	for _, how := range []string{"silence", "a cut"} {
		t.Run(how, func(t *testing.T) {
			withSession(t, nil, nil, func(t *testing.T, f *resumeTest) {
				ctx := context.Background()
				near, err := f.c.OpenStream()
				require.NoError(t, err)
				far, err := f.s.AcceptStream()
				require.NoError(t, err)
				require.NoError(t, f.s.Register(ctx, "hang", hangUp))
				require.NoError(t, f.c.Register(ctx, "hang", hangUp))
				time.Sleep(5 * time.Second)
				f.told.take()
				f.mu.Lock()
				f.shut = true
				links := f.links
				f.mu.Unlock()
				for _, nc := range links {
					nc := nc.(*mutable)
					if how == "silence" {
						nc.silence()
					} else {
						nc.Conn.Close()
					}
				}
				start := time.Now()
				var all []<-chan error
				block := func(f func() error) { all = append(all, kit.Run(f)) }
				for _, s := range []geminio.Stream{near, far} {
					block(func() error { _, err := s.Read(make([]byte, 1)); return err })
					block(func() error { _, err := s.Write(make([]byte, 20<<20)); return err })
					block(func() error { _, err := s.Receive(ctx); return err })
					block(func() error { return s.Publish(ctx, s.NewMessage(nil)) })
					block(func() error { _, err := s.Call(ctx, "hang", s.NewRequest(nil)); return err })
				}
				block(func() error { _, err := f.s.Call(ctx, "hang", f.s.NewRequest(nil)); return err })
				block(func() error { _, err := f.s.AcceptStream(); return err })
				block(func() error { _, err := f.s.Receive(ctx); return err })
				block(func() error { _, err := f.s.OpenStream(); return err })
				block(func() error { return f.s.Register(ctx, "more", hangUp) })
				for _, returned := range all {
					assert.Error(t, <-returned)
				}
				assert.LessOrEqual(t, time.Since(start), 2*20*time.Second+keepTime+time.Second)
				time.Sleep(time.Minute)
				offline := map[string]int{}
				for _, line := range f.told.take() {
					offline[line]++
				}
				assert.Equal(t, 1, offline["offline"])
				assert.Equal(t, 1, offline["client offline"])
				assert.Equal(t, 1, offline["interrupted"])
				assert.Equal(t, 1, offline["client interrupted"])
			})
		})
	}
}

// deafenServer has the client receive nothing more over the present pipes.
func (f *resumeTest) deafenServer() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, nc := range f.links {
		m := nc.(*mutable)
		m.mu.Lock()
		m.deaf = true
		m.mu.Unlock()
	}
}

// silence has nothing arrive any more at either side, without an error.
func (m *mutable) silence() {
	m.mute()
	m.mu.Lock()
	m.deaf = true
	m.mu.Unlock()
	m.once.Do(func() { close(m.failed) }) // Close is not noticed by the peer
}
