package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
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

// An End, a stream or a Listener ends while the connection is cut again and again. Everything that
// Write has reported arrives, nothing arrives twice, and each End ends.
func TestEndingsAmidCuts(t *testing.T) {
	r := seeded(t)
	for range kit.Amount("pipe", 30) {
		seed := r.Uint64()
		synctest.Test(t, func(t *testing.T) { endAmidCuts(t, rand.New(rand.NewPCG(seed, 1))) })
		if t.Failed() {
			t.Logf("seed of the run: %d", seed)
			return
		}
	}
}

func pick[T any](r *rand.Rand, some ...T) T { return some[r.IntN(len(some))] }

func endAmidCuts(t *testing.T, r *rand.Rand) {
	path := kit.Path{
		Rate: pick(r, 200<<10, 2<<20, 20<<20), RTT: pick(r, 200*time.Microsecond, 20*time.Millisecond, 150*time.Millisecond),
		Queue: pick(r, 0, 64<<10),
	}
	heartbeat, buffer := pick(r, 2*time.Second, 20*time.Second, time.Hour), pick(r, 64<<10, 8<<20)
	end := pick(r, "streams", "client", "server", "shutdown client", "shutdown server", "listener")
	pause := pick(r, 30*time.Millisecond, 300*time.Millisecond, 2*time.Second)
	what := fmt.Sprintf("%v of %+v, heartbeat %v, log %d, a cut each %v", end, path, heartbeat, buffer, pause)
	link := kit.NewLink(path)
	pipes := kit.NewPipeListener()
	so, co := server.NewEndOptions(), client.NewEndOptions()
	so.SetHeartbeat(heartbeat)
	co.SetHeartbeat(heartbeat)
	so.SetResumeBuffer(buffer)
	co.SetResumeBuffer(buffer)
	so.SetLinger(5 * time.Minute)
	co.SetLinger(5 * time.Minute)
	co.SetRetryBackoff(20*time.Millisecond, 20*time.Millisecond)
	l, err := server.NewListener(pipes, so)
	require.NoError(t, err)
	c, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		near, far := link.Pipe()
		return near, pipes.Give(far)
	}, co)
	require.NoError(t, err)
	s, err := l.AcceptEnd()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for _, e := range []geminio.End{c, s} {
		require.NoError(t, e.Register(ctx, "echo", rig.Echo))
	}
	var ending atomic.Bool
	var work sync.WaitGroup
	type flow struct {
		sent, got atomic.Int64
		torn      atomic.Bool
		err       error
		near      geminio.Stream
	}
	var flows [2][3]*flow
	amount := pick(r, 10_000, 300_000, 2_000_000)
	for side, ends := range [][2]geminio.End{{c, s}, {s, c}} {
		for i := range flows[side] {
			f := &flow{}
			flows[side][i] = f
			near, far := rig.OpenStream(t, ends[0], ends[1])
			f.near = near
			size := 1 + r.IntN(60_000)
			work.Go(func() {
				data := make([]byte, size)
				for at := 0; at < amount; at += size {
					for j := range data {
						data[j] = byte((at + j) % 251)
					}
					n, err := near.Write(data)
					f.sent.Add(int64(n))
					if err != nil {
						f.torn.Store(true)
						assert.True(t, ending.Load(), "%s: Write: %v", what, err)
						return
					}
				}
				near.Close()
			})
			work.Go(func() {
				p := make([]byte, 30_000)
				for {
					n, err := far.Read(p)
					got := int(f.got.Load())
					for j, b := range p[:n] {
						if b != byte((got+j)%251) {
							t.Errorf("%s: byte %d is damaged", what, got+j)
							return
						}
					}
					f.got.Add(int64(n))
					if err != nil {
						f.err = err
						far.Close()
						return
					}
				}
			})
		}
		body := make([]byte, 1+r.IntN(300_000))
		work.Go(func() {
			for !ending.Load() {
				resp, err := ends[0].Call(ctx, "echo", ends[0].NewRequest(body))
				if !ending.Load() {
					assert.NoError(t, err, what)
				}
				if err != nil {
					return
				}
				assert.Len(t, resp.Data(), len(body))
			}
		})
	}
	cutting, stop := context.WithCancel(ctx)
	cutter := kit.Start(func() error {
		for cutting.Err() == nil {
			select {
			case <-time.After(pause/2 + rand.N(pause)):
			case <-cutting.Done():
				return nil
			}
			link.Cut()
		}
		return nil
	})
	time.Sleep(time.Duration(r.Int64N(int64(4 * time.Second))))
	ending.Store(true)
	ended := kit.Start(func() error {
		switch end {
		case "client":
			return c.Close()
		case "server":
			return s.Close()
		case "shutdown client":
			return geminio.Shutdown(ctx, c)
		case "shutdown server":
			return geminio.Shutdown(ctx, s)
		case "listener":
			return geminio.Shutdown(ctx, l)
		}
		for _, f := range flows[0] {
			f.near.Close()
		}
		for _, f := range flows[1] {
			f.near.Close()
		}
		return nil
	})
	time.Sleep(time.Duration(r.Int64N(int64(4 * time.Second))))
	stop()
	<-cutter
	assert.NoError(t, <-ended, what)
	work.Wait()
	for side := range flows {
		for i, f := range flows[side] {
			if end == "client" && side == 1 || end == "server" && side == 0 {
				continue // the side that ends receives no more
			}
			assert.Equal(t, f.sent.Load(), f.got.Load(), "%s: stream %d of side %d: %v, torn %v", what, i, side, f.err, f.torn.Load())
			if !f.torn.Load() {
				assert.Equal(t, io.EOF, f.err, what)
			}
		}
	}
	c.Close()
	s.Close()
	l.Close()
	time.Sleep(10 * time.Minute)
}
