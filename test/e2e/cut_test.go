package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// cuts are the ways to cut off a Write from the client to the server, with the error that the
// reader gets instead of io.EOF.
var cuts = []struct {
	name   string
	stream bool // only a stream can be cut off in this way
	cut    func(p *rig.Pair, s halfCloser)
	code   geminio.Code // the code of the error of a stream; 0: the error says that the connection is lost
}{
	{"Close of the stream", true, func(_ *rig.Pair, s halfCloser) { s.Close() }, geminio.CodeClosed},
	{"CloseWrite of the stream", true, func(_ *rig.Pair, s halfCloser) { s.CloseWrite() }, geminio.CodeClosed},
	{"Close of the End", false, func(p *rig.Pair, _ halfCloser) { p.Client.Close() }, geminio.CodeGoingAway},
	{"Shutdown with a deadline", false, func(p *rig.Pair, _ halfCloser) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		geminio.Shutdown(ctx, p.Client)
	}, geminio.CodeGoingAway},
	{"CloseWrite, then Close of the End", false, func(p *rig.Pair, s halfCloser) {
		s.CloseWrite()
		p.Client.Close()
	}, geminio.CodeGoingAway},
	{"a break of the connection", false, func(p *rig.Pair, _ halfCloser) { p.ClientConn.Close() }, 0},
}

// The reader of a Write that is cut off gets the bytes that were sent, and then an error other
// than io.EOF.
func TestTransferThatIsCutOff(t *testing.T) {
	for _, network := range kit.Networks("tcp", "pipe") {
		for _, c := range cuts {
			for _, onStream := range []bool{true, false} {
				if c.stream && !onStream {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/stream %v", network, c.name, onStream), func(t *testing.T) {
					p := rig.NewPair(t, network, nil, nil)
					var near, far geminio.Stream = p.Client, p.Server
					if onStream {
						near, far = rig.OpenStream(t, p.Client, p.Server)
					}
					data := large()[:min(8<<20, len(large()))]
					type outcome struct {
						n   int
						err error
					}
					wrote := kit.Start(func() outcome {
						n, err := near.Write(data)
						return outcome{n, err}
					})
					first := make([]byte, 1000)
					_, err := io.ReadFull(far, first)
					require.NoError(t, err)
					c.cut(p, near.(halfCloser))
					w := kit.Await(t, kit.Forever, "the Write", wrote)
					require.Error(t, w.err)
					require.Less(t, w.n, len(data))

					rest, err := io.ReadAll(far)
					require.Error(t, err, "after %d of %d bytes", len(rest)+len(first), len(data))
					require.NotErrorIs(t, err, io.EOF)
					require.ErrorIs(t, err, io.ErrClosedPipe)
					got := append(first, rest...)
					if c.code != 0 {
						require.Len(t, got, w.n, "the bytes that arrived, of which Write has returned the number")
					}
					require.Equal(t, data[:len(got)], got)
					var reset *geminio.StreamError
					var closed *geminio.RemoteError
					switch {
					case c.code == 0:
						assert.ErrorIs(t, err, geminio.ErrConnectionLost)
					case onStream && errors.As(err, &reset):
						assert.True(t, reset.Remote)
						if c.name != "CloseWrite, then Close of the End" { // the reader may see either first
							assert.Equal(t, c.code, reset.Code)
						}
					default:
						require.False(t, onStream, "%v", err)
						require.ErrorAs(t, err, &closed)
						assert.Equal(t, c.code, closed.Code)
						assert.ErrorIs(t, err, geminio.ErrConnectionLost)
						assert.ErrorIs(t, err, geminio.ErrGoingAway)
					}
				})
			}
		}
	}
}

// The reader of a stream after CloseWrite gets all bytes and io.EOF, even if the connection
// breaks then or Writes on other streams are cut off.
func TestTransferThatIsComplete(t *testing.T) {
	for _, network := range kit.Networks("tcp", "pipe") {
		for _, end := range []func(p *rig.Pair){
			func(p *rig.Pair) { p.Client.Close() },
			func(p *rig.Pair) { p.ClientConn.Close() },
			func(p *rig.Pair) { p.Server.Close() },
		} {
			p := rig.NewPair(t, network, nil, nil)
			a, b := rig.OpenStream(t, p.Client, p.Server)
			other, _ := rig.OpenStream(t, p.Client, p.Server)
			go other.Write(make([]byte, 1<<20))
			_, err := a.Write([]byte("all of it"))
			require.NoError(t, err)
			require.NoError(t, a.Close())
			first := make([]byte, 1)
			_, err = io.ReadFull(b, first)
			require.NoError(t, err)
			for !finished(b) {
				time.Sleep(time.Millisecond)
			}
			end(p)
			rest, err := io.ReadAll(b)
			require.NoError(t, err)
			require.Equal(t, "all of it", string(append(first, rest...)))
		}
	}
}

// finished reports whether the peer has closed a stream.
func finished(s geminio.Stream) bool {
	_, err := s.Call(context.Background(), "nothing", s.NewRequest(nil))
	return err == io.EOF
}

// If the linger time does not suffice to deliver all bytes, the reader does not get io.EOF.
func TestLingerThatDoesNotSuffice(t *testing.T) {
	for _, network := range kit.Networks("tcp", "pipe") {
		for _, onStream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/stream %v", network, onStream), func(t *testing.T) {
				p, g := gatedPair(t, network, false)
				var near, far geminio.Stream = p.Client, p.Server
				if onStream {
					near, far = rig.OpenStream(t, p.Client, p.Server)
				}
				junk, _ := rig.OpenStream(t, p.Client, p.Server)
				reopen := g.shut()
				defer reopen()
				for range 200 { // more bytes than the path holds
					require.NoError(t, junk.Publish(t.Context(), onceMessage(junk, 60<<10)))
				}
				n, err := near.Write(make([]byte, 5000))
				require.NoError(t, err)
				require.NoError(t, p.Client.Close())
				reopen()
				all, err := io.ReadAll(far)
				require.ErrorIs(t, err, geminio.ErrConnectionLost)
				require.NotErrorIs(t, err, io.EOF)
				require.LessOrEqual(t, len(all), n)
			})
		}
	}
}

// A stream ends in a random way at a random moment. Its reader gets the bytes that the Writes
// have reported as sent, and io.EOF only if none of the Writes was cut off.
func TestEOFMeansAllAtEveryMoment(t *testing.T) {
	for _, network := range kit.Networks("tcp", "pipe") {
		t.Run(network, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			for range kit.Amount(network, 200) {
				cutAtRandom(t, r, network)
			}
		})
	}
}

// cutAtRandom ends a stream, or an End, to which several goroutines write.
func cutAtRandom(t *testing.T, r *rand.Rand, network string) {
	p := rig.NewPair(t, network, nil, nil)
	defer p.Close()
	var near, far geminio.Stream = p.Client, p.Server
	if r.IntN(3) > 0 {
		near, far = rig.OpenStream(t, p.Client, p.Server)
	}
	ends := []func(){
		func() { near.Close() },
		func() { geminio.CloseWrite(near) },
		func() { p.Client.Close() },
		func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			geminio.Shutdown(ctx, p.Client)
		},
	}
	end := ends[r.IntN(len(ends))]
	var sent, torn atomic.Int64
	var writers sync.WaitGroup
	for range 1 + r.IntN(3) {
		size := 1 + r.IntN(40_000)
		writers.Go(func() {
			for data := make([]byte, size); ; {
				n, err := near.Write(data)
				sent.Add(int64(n))
				if err != nil {
					if n > 0 {
						torn.Add(1)
					}
					return
				}
			}
		})
	}
	type outcome struct {
		n   int64
		err error
	}
	read := kit.Start(func() outcome {
		n, err := io.Copy(io.Discard, far)
		return outcome{n, err}
	})
	time.Sleep(time.Duration(r.IntN(2000)) * time.Microsecond)
	end()
	writers.Wait()
	p.Client.Close() // CloseWrite leaves the End open
	got := kit.Await(t, kit.Forever, "the end", read)
	require.Equal(t, sent.Load(), got.n, "bytes that arrived, want those that the Writes have reported")
	if torn.Load() > 0 {
		require.Error(t, got.err, "the error of the reader after a Write was cut off; %d bytes were sent", sent.Load())
	}
}

// A RetryEnd distinguishes a loss from an end in the same way.
func TestRetryEndIsToldOfACut(t *testing.T) {
	for _, cut := range []bool{true, false} {
		l := listen(t, server.NewEndOptions())
		address := l.Addr().String()
		end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) { return kit.Dial(address) })
		require.NoError(t, err)
		peer, err := l.AcceptEnd()
		require.NoError(t, err)
		size := 100
		if cut {
			size = 1 << 20 // more than the first window
		}
		wrote := kit.Start(func() error { _, err := peer.Write(make([]byte, size)); return err })
		_, err = io.ReadFull(end, make([]byte, 100))
		require.NoError(t, err)
		if !cut {
			require.NoError(t, <-wrote)
		}
		require.NoError(t, peer.Close())
		_, err = io.Copy(io.Discard, end)
		if cut {
			require.Error(t, <-wrote)
			require.ErrorIs(t, err, geminio.ErrConnectionLost)
			require.ErrorIs(t, err, geminio.ErrGoingAway)
		} else {
			require.NoError(t, err)
		}
		end.Close()
		l.Close()
	}
}
