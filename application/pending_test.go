package application

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

func TestPendingTable(t *testing.T) {
	var table pendingTable
	assert.True(t, table.empty())
	a, others := table.begin(&Stream{}, &operation{typ: packet.TypeRequest}, time.Time{}, nil)
	assert.False(t, others)
	b, others := table.begin(&Stream{}, &operation{typ: packet.TypeMessage}, time.Time{}, nil)
	assert.True(t, others)
	assert.NotEqual(t, a.seq, b.seq)
	assert.Nil(t, table.take(a.seq, packet.TypeMessage), "of another type")
	assert.Nil(t, table.take(a.seq+100, packet.TypeRequest), "never begun")
	assert.Same(t, a, table.take(a.seq, packet.TypeRequest))
	assert.Nil(t, table.take(a.seq, packet.TypeRequest), "once")
	assert.False(t, table.empty())

	call := a.seq
	a.err = io.EOF
	table.recycle(a)
	c, _ := table.begin(&Stream{}, &operation{typ: packet.TypeRegister}, time.Time{}, nil)
	assert.Same(t, a, c, "used again")
	assert.NoError(t, c.err, "as new")
	assert.Greater(t, c.seq, call, "a number is never used again")
	assert.Nil(t, table.take(call, packet.TypeRequest), "take after the entry was removed")
	table.take(b.seq, packet.TypeMessage)
	table.take(c.seq, packet.TypeRegister)
	assert.True(t, table.empty())

	table.end()
	d, _ := table.begin(&Stream{}, &operation{typ: packet.TypeRequest}, time.Time{}, nil)
	assert.Nil(t, d)
}

// trim frees what the tables keep for reuse, unless they are in use.
func TestTrim(t *testing.T) {
	var table pendingTable
	s := &Stream{}
	p, _ := table.begin(s, &operation{typ: packet.TypeRequest}, time.Time{}, nil)
	table.trim()
	require.Same(t, p, table.take(p.seq, packet.TypeRequest))
	table.recycle(p)
	table.trim()
	assert.Zero(t, table.entries)
	assert.Nil(t, table.free)
	p, _ = table.begin(s, &operation{typ: packet.TypeRequest}, time.Time{}, nil)
	assert.NotNil(t, table.take(p.seq, packet.TypeRequest))

	var requests servingTable
	v := &serving{seq: 1}
	require.Equal(t, admitted, requests.add(s, v))
	requests.trim()
	require.Equal(t, inUse, requests.add(s, &serving{seq: 1}))
	requests.remove(v)
	requests.trim()
	assert.Zero(t, requests.all)
	require.Equal(t, admitted, requests.add(s, v))
}

func TestPendingTableKeepsFew(t *testing.T) {
	var table pendingTable
	var all []*pending
	for range 3 * maxFree {
		p, _ := table.begin(&Stream{}, &operation{typ: packet.TypeRequest}, time.Time{}, nil)
		all = append(all, p)
	}
	for _, p := range all {
		table.take(p.seq, p.typ)
		table.recycle(p)
	}
	assert.Len(t, table.free, maxFree)
	assert.Zero(t, table.entries.len())
}

// Calls that are given up before they are sent do not hold back later ones.
func TestGivenUpCallsLeaveNoTrace(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		block := make(chan struct{})
		register(t, server, "block", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
			select {
			case <-block:
			case <-ctx.Done():
			}
		})
		for _, size := range []int{0, 5000, 300_000} {
			for range 300 { // more than there is credit for
				ctx, cancel := context.WithCancel(t.Context())
				errs := make(chan error, 1)
				go func() {
					_, err := client.Call(ctx, "block", client.NewRequest(make([]byte, size)))
					errs <- err
				}()
				if size == 0 {
					synctest.Wait()
				}
				cancel()
				require.ErrorIs(t, <-errs, context.Canceled)
			}
		}
		synctest.Wait()
		close(block)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		assert.NoError(t, call(ctx, client, "block"))
		synctest.Wait() // the server has sent its answer, and is about to be done
		assert.True(t, client.pending.empty())
		assert.Zero(t, server.serving.n.Load())
	})
}

// The memory of a call or message is not used any more when the operation has returned,
// also with an error.
func TestMemoryIsTheCallersAgain(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(s geminio.Stream, e *End, cancel context.CancelFunc)
	}{
		{"cancel", func(_ geminio.Stream, _ *End, cancel context.CancelFunc) { cancel() }},
		{"end of the connection", func(_ geminio.Stream, e *End, _ context.CancelFunc) { go e.Close() }},
		{"end of the stream", func(s geminio.Stream, _ *End, _ context.CancelFunc) { s.Close() }},
	} {
		for _, what := range []string{"publish", "call"} {
			t.Run(test.name+" "+what, func(t *testing.T) {
				withPeer(t, func(t *testing.T, e *End, peer net.Conn) {
					opened := make(chan geminio.Stream, 1)
					go func() {
						s, err := e.OpenStream()
						if err != nil {
							t.Error(err)
						}
						opened <- s
					}()
					h, _, err := kit.ReadFrame(peer, kit.AnyFrame)
					require.NoError(t, err)
					_, err = peer.Write(packet.AppendAccept(nil, h.Stream, packet.Windows{Raw: 1 << 20, Messages: 1 << 20}))
					require.NoError(t, err)
					s := <-opened

					data := bytes.Repeat([]byte{7}, 1<<20-100)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					errs := make(chan error, 1)
					go func() {
						var err error
						if what == "publish" {
							err = s.Publish(ctx, s.NewMessage(data))
						} else {
							_, err = s.Call(ctx, "x", s.NewRequest(data))
						}
						errs <- err
					}()
					_, _, err = kit.ReadFrame(peer, kit.AnyFrame) // the first fragment
					require.NoError(t, err)
					test.end(s, e, cancel)
					require.Error(t, <-errs)
					clear(data)
					peer.SetReadDeadline(time.Now().Add(time.Second))
					for {
						h, payload, err := kit.ReadFrame(peer, kit.AnyFrame)
						if err != nil {
							break
						}
						if h.Type == packet.TypeMessage || h.Type == packet.TypeRequest {
							body := payload[packet.FragmentHeaderLen(h)+40:] // without the head
							require.Equal(t, -1, bytes.IndexByte(body, 0), "%v", h)
						}
					}
				})
			})
		}
	}
}

// A timeout counts from the call, and includes the wait for credit.
func TestTimeoutCountsFromTheCall(t *testing.T) {
	for _, async := range []bool{false, true} {
		withPair(t, nil, nil, func(t *testing.T, client, server *End) {
			for range 3 { // as many as there is credit for
				_, err := client.PublishAsync(t.Context(), client.NewMessage(make([]byte, 5<<10)), nil)
				require.NoError(t, err)
			}
			m := client.NewMessage(make([]byte, 5<<10))
			m.SetTimeout(10 * time.Second)
			start, ended := time.Now(), make(chan error, 1)
			go func() {
				if !async {
					ended <- client.Publish(context.Background(), m)
					return
				}
				p, err := client.PublishAsync(context.Background(), m, nil)
				if err == nil {
					err = (<-p.Done).Error
				}
				ended <- err
			}()
			time.Sleep(6 * time.Second)
			for range 3 {
				_, err := server.Receive(t.Context()) // gives credit, and no answer
				require.NoError(t, err)
			}
			assert.Equal(t, context.DeadlineExceeded, <-ended)
			assert.Equal(t, 10*time.Second, time.Since(start))
		})
	}
}

// watched is a context that counts the functions which wait for its end.
type watched struct {
	context.Context
	watchers atomic.Int64
}

// Value hides the embedded context from package context, which would otherwise watch it
// directly.
func (w *watched) Value(any) any { return nil }

// AfterFunc is called by context.AfterFunc.
func (w *watched) AfterFunc(f func()) func() bool {
	w.watchers.Add(1)
	stop := context.AfterFunc(w.Context, f)
	return func() bool {
		w.watchers.Add(-1)
		return stop()
	}
}

// An asynchronous operation that has ended is not registered with its context any more,
// which may live as long as the program.
func TestNothingIsLeftWithTheContext(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		parent, cancel := context.WithCancel(context.Background())
		defer cancel()
		ctx := &watched{Context: parent}
		publish := func(size int, timeout time.Duration) (<-chan error, error) {
			ended := make(chan error, 1)
			err := client.startPublish(ctx, 0, client.NewMessage(make([]byte, size)), timeout, func(err error) { ended <- err })
			return ended, err
		}

		_, err := publish(2<<20, 0)
		require.ErrorIs(t, err, geminio.ErrTooLarge)
		assert.Zero(t, ctx.watchers.Load(), "watchers of a publication that was refused")

		ended, err := publish(1, 0)
		require.NoError(t, err)
		assert.EqualValues(t, 1, ctx.watchers.Load(), "watchers of a publication that is under way")
		m, err := server.Receive(ctx)
		require.NoError(t, err)
		m.Done()
		require.NoError(t, <-ended)
		assert.Zero(t, ctx.watchers.Load(), "watchers of a publication that was answered")

		ended, err = publish(1, time.Second)
		require.NoError(t, err)
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
		assert.Zero(t, ctx.watchers.Load(), "watchers of a publication after its timeout")

		ended, err = publish(1, 0)
		require.NoError(t, err)
		client.Close()
		require.ErrorIs(t, <-ended, geminio.ErrMaybeExecuted)
		synctest.Wait()
		assert.Zero(t, ctx.watchers.Load(), "watchers, after the end")
	})
}

// nosyContext is a context whose methods use the End.
type nosyContext struct {
	context.Context
	use func()
}

func (c nosyContext) Deadline() (time.Time, bool) { c.use(); return c.Context.Deadline() }
func (c nosyContext) Done() <-chan struct{}       { c.use(); return c.Context.Done() }
func (c nosyContext) Err() error                  { c.use(); return c.Context.Err() }
func (c nosyContext) Value(key any) any           { c.use(); return c.Context.Value(key) }

// Methods of a context are called without a lock.
func TestContextThatUsesTheEnd(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		register(t, server, "hang", func(ctx context.Context, _ geminio.Request, _ geminio.Response) { <-ctx.Done() })
		ctx, cancel := context.WithCancel(t.Context())
		nosy := nosyContext{ctx, func() { client.pending.empty() }}
		ended := make(chan error, 1)
		go func() {
			c, err := client.CallAsync(nosy, "hang", client.NewRequest(nil), nil)
			if err == nil {
				err = (<-c.Done).Error
			}
			ended <- err
		}()
		time.Sleep(time.Second)
		cancel()
		time.Sleep(time.Second)
		select {
		case err := <-ended:
			assert.Equal(t, context.Canceled, err)
		default:
			t.Fatal("the call has not ended")
		}
	})
}
