package fault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// Both Ends write into a full pipe: messages and calls of 10 MiB each (less under the race
// detector) in both directions at once, and as many raw bytes, over a transport that holds
// 64 bytes. All of them complete.
func TestBothWriteIntoAFullPipe(t *testing.T) {
	for _, r := range []resumption{noResumption, withResumption} {
		t.Run(r.String(), func(t *testing.T) { bothWriteIntoAFullPipe(t, r) })
	}
}

func bothWriteIntoAFullPipe(t *testing.T, r resumption) {
	p, err := r.join(t, func() (net.Conn, net.Conn, error) {
		near, far := newBufferedPair(64)
		return near, far, nil
	}, nil, nil)
	require.NoError(t, err)
	defer p.Close()
	big := kit.BytesOf(kit.Amount("wire", 10<<20), 1)
	var all []<-chan error
	for _, ends := range [][2]geminio.End{{p.Client, p.Server}, {p.Server, p.Client}} {
		end, peer := ends[0], ends[1]
		register(t, peer, "echo", rig.Echo)
		s, other := rig.OpenStream(t, end, peer)
		all = append(all,
			kit.Start(func() error { return end.Publish(context.Background(), end.NewMessage(big)) }),
			kit.Start(func() error {
				resp, err := end.Call(context.Background(), "echo", end.NewRequest(big))
				if err == nil && !bytes.Equal(resp.Data(), big) {
					err = fmt.Errorf("the response has %d bytes, or bytes that differ", len(resp.Data()))
				}
				return err
			}),
			kit.Start(func() error { _, err := s.Write(big); s.Close(); return err }),
			kit.Start(func() error {
				sum := sha256.New()
				_, err := io.Copy(sum, other)
				if want := sha256.Sum256(big); err == nil && !bytes.Equal(sum.Sum(nil), want[:]) {
					err = fmt.Errorf("the bytes that arrived differ")
				}
				return err
			}),
			kit.Start(func() error {
				m, err := peer.Receive(context.Background())
				if err != nil {
					return err
				}
				return m.Done()
			}))
	}
	for _, done := range all {
		assert.NoError(t, kit.Await(t, 4*kit.Forever, "transfer", done))
	}
}

// One of 100 streams is not read. Over a link of 10 MB/s, the time in which 99 % of the
// exchanges of the other streams are done stays within twice the time without the stalled
// stream. The processor time is measured in test/e2e.
func TestStalledStreamDoesNotSlowOthers(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		l := newObservedPair(t, r, nil, nil)
		l.near.perByte, l.far.perByte = 100*time.Nanosecond, 100*time.Nanosecond
		const active, exchanges = 99, 20
		near := make([]geminio.Stream, active)
		for i := range near {
			s, other := rig.OpenStream(t, l.Client, l.Server)
			near[i] = s
			go io.Copy(other, other)
		}
		p99 := func() time.Duration {
			took := make([][exchanges]time.Duration, active)
			var wg sync.WaitGroup
			for i, s := range near {
				wg.Go(func() {
					buf := make([]byte, 1000)
					for j := range took[i] {
						begin := time.Now()
						_, err := s.Write(buf)
						assert.NoError(t, err)
						_, err = io.ReadFull(s, buf)
						assert.NoError(t, err)
						took[i][j] = time.Since(begin)
					}
				})
			}
			wg.Wait()
			var all []time.Duration
			for i := range took {
				all = append(all, took[i][:]...)
			}
			slices.Sort(all)
			return all[len(all)*99/100]
		}
		p99() // windows grow
		calm := p99()
		s, _ := rig.OpenStream(t, l.Client, l.Server)
		full := kit.Start(func() error { _, err := s.Write(make([]byte, 64<<20)); return err })
		stalled := p99()
		t.Logf("p99 %v with a stalled stream, %v without", stalled, calm)
		assert.LessOrEqual(t, stalled, 2*calm)
		s.Close()
		assert.Error(t, kit.Await(t, kit.Forever, "the Write on the stalled stream", full))
	})
}

// Write is followed by Close: from one byte to 64 MiB, with a slow reader and with a Close
// that comes at once. All written bytes arrive, then io.EOF.
func TestLastByteArrives(t *testing.T) {
	for _, r := range []resumption{noResumption, withResumption} {
		t.Run(r.String(), func(t *testing.T) { lastByteArrives(t, r) })
	}
}

func lastByteArrives(t *testing.T, kind resumption) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	p, err := kind.join(t, func() (net.Conn, net.Conn, error) { return kit.RawPair("tcp") }, nil, nil)
	require.NoError(t, err)
	defer p.Close()
	once := func(size int, slow bool) {
		s, other := rig.OpenStream(t, p.Client, p.Server)
		data := kit.BytesOf(size, uint64(size))
		written := kit.Start(func() error {
			if _, err := s.Write(data); err != nil {
				return err
			}
			return s.Close()
		})
		var got bytes.Buffer
		buf := make([]byte, 1+r.IntN(64<<10))
		for {
			n, err := other.Read(buf)
			got.Write(buf[:n])
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			if slow {
				runtime.Gosched()
			}
		}
		require.True(t, bytes.Equal(data, got.Bytes()), "%d bytes of %d", got.Len(), size)
		require.NoError(t, kit.Await(t, kit.Forever, "write", written))
	}
	for i := range kit.Amount("tcp", 5_000) { // half of them with each kind of Ends
		once(1+r.IntN(1<<(1+i%16)), i%3 == 0)
	}
	for _, size := range []int{1 << 20, 8 << 20, kit.Amount("tcp", 64<<20)} {
		once(size, true)
		once(size, false)
	}
}

// A handler that panics, or that ends its goroutine, fails its own call with a code and
// disturbs no other call. A handler that never returns and ignores its context delays
// Shutdown at most until the context of Shutdown ends, and does not delay Close.
func TestPanickingAndEndlessHandlers(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		l := newObservedPair(t, r, nil, nil)
		endless := make(chan struct{})
		defer close(endless)
		register(t, l.Server, "panic", func(context.Context, geminio.Request, geminio.Response) { panic("oh") })
		register(t, l.Server, "exit", func(context.Context, geminio.Request, geminio.Response) { runtime.Goexit() })
		register(t, l.Server, "endless", func(context.Context, geminio.Request, geminio.Response) { <-endless })
		register(t, l.Server, "echo", rig.Echo)
		call := func(method string) error {
			_, err := l.Client.Call(context.Background(), method, l.Client.NewRequest(nil))
			return err
		}
		for _, method := range []string{"panic", "exit"} {
			var failed *geminio.RemoteError
			require.ErrorAs(t, call(method), &failed)
			assert.Equal(t, geminio.CodePanic, failed.Code)
		}
		stuck := kit.Start(func() error { return call("endless") })
		assert.NoError(t, call("echo"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		err := geminio.Shutdown(ctx, l.Server)
		assert.Equal(t, context.DeadlineExceeded, err)
		assert.Equal(t, 3*time.Second, time.Since(begin))
		assert.ErrorIs(t, kit.Await(t, time.Second, "the call", stuck), geminio.ErrMaybeExecuted)
	})
}

// Handlers call each other deeper than the limit of handlers allows. The deepest call
// fails within ten seconds, and its error states the reason.
func TestMutualRecursionBeyondTheLimitFails(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		co, so := client.NewEndOptions(), server.NewEndOptions()
		co.SetMaxHandlers(20)
		so.SetMaxHandlers(20)
		l := newObservedPair(t, r, co, so)
		down := func(end geminio.End) geminio.RPC {
			return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
				n := binary.BigEndian.Uint64(req.Data())
				if n == 0 {
					return
				}
				_, err := end.Call(ctx, "down", end.NewRequest(binary.BigEndian.AppendUint64(nil, n-1)))
				resp.SetError(err)
			}
		}
		register(t, l.Server, "down", down(l.Server))
		register(t, l.Client, "down", down(l.Client))
		call := func(depth uint64) error {
			_, err := l.Client.Call(context.Background(), "down", l.Client.NewRequest(binary.BigEndian.AppendUint64(nil, depth)))
			return err
		}
		assert.NoError(t, call(20))
		begin := time.Now()
		err := call(1000)
		require.Error(t, err)
		assert.Contains(t, err.Error(), "handlers of the peer, all busy: too many")
		assert.Equal(t, 10*time.Second, time.Since(begin))
		for d := range uint64(21) {
			assert.NoError(t, call(d), "a call of depth %d after the failed one", d)
		}
	})
}

// A slow consumer blocks its publisher: Publish waits until its own timeout, and no
// message is dropped. Applications build other policies on top, as examples/chatroom does.
func TestSlowConsumerBlocksItsPublisherAlone(t *testing.T) {
	eachResumption(t, func(t *testing.T, r resumption) {
		l := newObservedPair(t, r, nil, nil)
		done := make(chan *geminio.Publish, 100_000)
		n := 0
		for begin := time.Now(); ; n++ {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			m := l.Client.NewMessage(binary.BigEndian.AppendUint64(nil, uint64(n)))
			l.Client.PublishAsync(ctx, m, done)
			if time.Since(begin) > 0 { // Publish waited for credit
				break
			}
		}
		assert.Less(t, n, 2000, "messages that a receiver holds without receiving them")
		s, other := rig.OpenStream(t, l.Client, l.Server)
		go rig.AnswerAll(other)
		assert.NoError(t, s.Publish(context.Background(), s.NewMessage(nil)), "Publish on another stream")
		for i := range n {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			m, err := l.Server.Receive(ctx)
			cancel()
			require.NoError(t, err, "%d of %d", i, n)
			assert.Equal(t, uint64(i), binary.BigEndian.Uint64(m.Data()))
		}
	})
}

// The other side never closes its streams. Closing 10,000 of them one after the other,
// with a limit of 16, makes room for the next one each time.
func TestOneSideNeverCloses(t *testing.T) {
	so := server.NewEndOptions()
	so.SetMaxStreams(16)
	p := rig.NewPair(t, "tcp", nil, so)
	begin := time.Now()
	for n := 0; n < 10_000; {
		s, err := p.Client.OpenStream()
		if err != nil { // the answers to the closes are on their way
			require.ErrorIs(t, err, geminio.ErrTooMany)
			require.Less(t, time.Since(begin), kit.Forever)
			continue
		}
		n++
		_, err = p.Server.AcceptStream() // and forgotten
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	assert.LessOrEqual(t, len(p.Client.ListStreams()), 1)
}
