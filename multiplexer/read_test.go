package multiplexer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

func errOf(_ int, err error) error { return err }

func TestReadGivesCreditAtHalfAWindow(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		p.writeData(1, 0, 4096, "the window")
		buf := make([]byte, 2047)
		n, err := m.Main().Read(buf)
		require.NoError(t, err)
		require.Equal(t, 2047, n)
		p.wantIdle("less than half was read")
		_, err = m.Main().Read(buf[:1])
		require.NoError(t, err)
		assert.EqualValues(t, 2048, p.wantCredit(1, packet.ClassRaw, "half was read"))
		n, err = io.ReadFull(m.Main(), buf)
		require.NoError(t, err)
		require.Equal(t, 2047, n)
		p.wantIdle("not yet")
	})
}

func TestReaderThatWaitsGetsItsBytesAtOnce(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		buf := make([]byte, 1000)
		for _, size := range []int{1, 52, 999, 1000} {
			done := make(chan int, 1)
			go func() {
				n, _ := m.Main().Read(buf)
				done <- n
			}()
			synctest.Wait()
			p.writeData(1, 0, size, "data")
			synctest.Wait()
			require.Len(t, done, 1, "%d bytes came, and nothing else will", size)
			n := <-done
			require.NotZero(t, n)
			_, err := io.ReadFull(m.Main(), buf[n:size])
			require.NoError(t, err)
		}
	})
}

func TestEndOfData(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(p *peer)
		want error
	}{
		{"fin", func(p *peer) { p.writeData(3, packet.FlagFin, 0, "") }, io.EOF},
		{"fin and close", func(p *peer) { p.writeData(3, packet.FlagFin|packet.FlagClose, 0, "") }, io.EOF},
		{"the end of the connection", func(p *peer) { p.nc.Close() }, &lostError{io.ErrUnexpectedEOF}},
		{"close of the connection", func(p *peer) { p.writeReason(packet.TypeClose, 0, 0, "", "") }, io.EOF},
		{"close of the connection, with a code", func(p *peer) { p.writeReason(packet.TypeClose, 0, 10, "cut", "") },
			&lostError{&geminio.RemoteError{Code: 10, Text: "cut"}}},
		{"reset, then the end of the connection", func(p *peer) {
			p.writeReason(packet.TypeReset, 3, 77, "because", "")
			p.nc.Close()
		}, &geminio.StreamError{Code: 77, Text: "because", Remote: true}},
		{"fin, then the end of the connection", func(p *peer) {
			p.writeData(3, packet.FlagFin, 0, "")
			p.nc.Close()
		}, io.EOF},
		{"reset", func(p *peer) { p.writeReason(packet.TypeReset, 3, 77, "because", "") },
			&geminio.StreamError{Code: 77, Text: "because", Remote: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				p.writeData(3, 0, 100, "what was sent before")
				test.end(p)
				synctest.Wait()
				buf := make([]byte, 60)
				n, err := d.Read(buf)
				require.NoError(t, err)
				require.Equal(t, 60, n)
				n, err = d.Read(buf)
				require.NoError(t, err)
				require.Equal(t, 40, n, "what is buffered can be read")
				for range 3 {
					n, err = d.Read(buf)
					require.Zero(t, n)
					require.Equal(t, test.want, err)
				}
			})
		})
	}
}

func TestEndWakesAReader(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(p *peer, d *Dialogue)
		want error
	}{
		{"fin", func(p *peer, d *Dialogue) { p.writeData(3, packet.FlagFin, 0, "") }, io.EOF},
		{"reset", func(p *peer, d *Dialogue) { p.writeReason(packet.TypeReset, 3, 77, "x", "") },
			&geminio.StreamError{Code: 77, Text: "x", Remote: true}},
		{"close here", func(p *peer, d *Dialogue) { d.Close() }, io.EOF},
		{"close read here", func(p *peer, d *Dialogue) { d.CloseRead() }, io.EOF},
		{"reset here", func(p *peer, d *Dialogue) { d.Reset(packet.Reason{}) }, io.EOF},
		{"the end of the connection", func(p *peer, d *Dialogue) { p.nc.Close() }, &lostError{io.ErrUnexpectedEOF}},
		{"its end from here", func(p *peer, d *Dialogue) { d.m.Close(io.EOF, packet.Reason{}) }, io.EOF},
		{"deadline", func(p *peer, d *Dialogue) { d.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				readers := make(chan error, 3)
				for range cap(readers) {
					go func() {
						_, err := d.Read(make([]byte, 10))
						readers <- err
					}()
				}
				synctest.Wait()
				test.end(p, d)
				synctest.Wait()
				require.Len(t, readers, cap(readers))
				for range cap(readers) {
					assert.Equal(t, test.want, <-readers)
				}
			})
		})
	}
}

func TestCloseRead(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		p.writeData(3, 0, 1000, "unread")
		synctest.Wait()
		require.NoError(t, d.CloseRead())
		p.wantReason(packet.TypeStop, 3, 0, "send no more")
		n, err := d.Read(make([]byte, 10))
		assert.Zero(t, n)
		assert.Equal(t, io.EOF, err, "what had come is thrown away")
		p.writeData(3, 0, 3096, "what was on its way")
		p.writeData(3, packet.FlagFin, 0, "and its end")
		require.NoError(t, d.CloseRead(), "again")
		p.wantIdle("no credit, no second stop")
		p.writePacket(packet.TypeRequest, 3, 1, 10, "packets go on")
		synctest.Wait()
		assert.Len(t, h.got(), 1)
		_, err = d.Write([]byte("hello"))
		require.NoError(t, err)
		p.want(packet.TypeData, 0, 3, "so does the other direction")
	})
}

// What is written arrives, whatever the sizes of writes and reads, and Close
// delivers it all.
func TestBytesArriveExactly(t *testing.T) {
	newSetup().bothTransports(t, func(t *testing.T, ms [2]*Mux, hs [2]*fakeHandler) {
		r := newRand(t)
		var all sync.WaitGroup
		for i := range 6 {
			from, to := openPair(t, ms)
			if i%2 == 1 {
				from, to = to, from
			}
			total := 1 + r.IntN(500_000)
			seeds := [2]uint64{r.Uint64(), r.Uint64()}
			sums := make(chan [32]byte, 2)
			all.Go(func() {
				r := rand.New(rand.NewPCG(seeds[0], 1))
				sum := sha256.New()
				for left := total; left > 0; {
					p := make([]byte, min(left, 1+r.IntN(1<<r.IntN(18))))
					for i := range p {
						p[i] = byte(r.Uint32())
					}
					sum.Write(p)
					n, err := from.Write(p)
					if n != len(p) || err != nil {
						t.Errorf("wrote %d of %d: %v", n, len(p), err)
						return
					}
					clear(p) // the writer may use its memory again
					left -= n
				}
				from.Close()
				sums <- [32]byte(sum.Sum(nil))
			})
			all.Go(func() {
				r := rand.New(rand.NewPCG(seeds[1], 1))
				sum := sha256.New()
				for {
					p := make([]byte, 1+r.IntN(1<<r.IntN(18)))
					n, err := to.Read(p)
					sum.Write(p[:n])
					if err != nil {
						if err != io.EOF {
							t.Error(err)
						}
						break
					}
				}
				sums <- [32]byte(sum.Sum(nil))
			})
			all.Go(func() {
				if a, b := <-sums, <-sums; a != b {
					t.Error("what came is not what was sent")
				}
			})
		}
		all.Wait()
	})
}

func TestWriteToAndReadFrom(t *testing.T) {
	newSetup().bothTransports(t, func(t *testing.T, ms [2]*Mux, hs [2]*fakeHandler) {
		near, far := openPair(t, ms)
		data := make([]byte, 700_000)
		rand.NewChaCha8([32]byte{1}).Read(data)
		sent := kit.Start(func() error {
			n, err := near.ReadFrom(bytes.NewReader(data))
			if n != int64(len(data)) {
				return fmt.Errorf("%d: %w: %v %v", n, err, ms[0].c.Cause(), ms[1].c.Cause())
			}
			near.CloseWrite()
			return err
		})
		var got bytes.Buffer
		n, err := far.WriteTo(&got)
		require.NoError(t, err)
		require.NoError(t, <-sent)
		assert.EqualValues(t, len(data), n)
		assert.True(t, bytes.Equal(data, got.Bytes()))

		// Errors of the other party come back.
		bad := errors.New("bad")
		_, err = near.ReadFrom(io.MultiReader(bytes.NewReader(data[:10]), errReader{bad}))
		assert.Equal(t, net.ErrClosed, err, "closed for writing")
		_, err = far.ReadFrom(io.MultiReader(bytes.NewReader(data[:10]), errReader{bad}))
		assert.Equal(t, bad, err)
		_, err = near.WriteTo(errWriter{bad})
		assert.Equal(t, bad, err)
	})
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

type errWriter struct{ err error }

func (w errWriter) Write([]byte) (int, error) { return 0, w.err }

// Read copies without the lock; nothing that happens meanwhile may touch what it
// copies. The race detector and the bytes would tell.
func TestReadWhileTheStreamEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(near, far *Dialogue)
	}{
		{"close read", func(_, far *Dialogue) { far.CloseRead() }},
		{"reset", func(_, far *Dialogue) { far.Reset(packet.Reason{}) }},
		{"close", func(_, far *Dialogue) { far.Close() }},
		{"reset by peer", func(near, _ *Dialogue) { near.Reset(packet.Reason{}) }},
		{"close by peer", func(near, _ *Dialogue) { near.Close() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := kit.TCPPair(t)
			s := newSetup()
			s.local.Raw, s.peer.Raw = 256<<10, 256<<10
			ms, _ := s.startPair(t, near, far)
			defer stopPair(ms)
			for i := range 60 {
				a, b := openPair(t, ms)
				var all sync.WaitGroup
				all.Go(func() {
					p := make([]byte, 3000)
					for n := 0; ; n++ {
						for j := range p {
							p[j] = byte(n*len(p) + j)
						}
						if _, err := a.Write(p); err != nil {
							return
						}
					}
				})
				started := make(chan struct{})
				all.Go(func() {
					buf, at := make([]byte, 177_777), 0
					for {
						n, err := b.Read(buf)
						for _, c := range buf[:n] {
							if c != byte(at) {
								t.Errorf("byte %d is wrong", at)
								return
							}
							at++
						}
						if at > i*1000 {
							select {
							case <-started:
							default:
								close(started)
							}
						}
						if err != nil {
							return
						}
					}
				})
				<-started
				test.end(a, b)
				a.Close()
				b.Close()
				all.Wait()
			}
		})
	}
}
