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

// errOf returns the error of a Read or a Write.
func errOf(_ int, err error) error { return err }

// Read grants credit when a quarter of the window has been read since the last Credit frame.
func TestReadGivesCreditAtAQuarterOfTheWindow(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		p.writeData(1, 0, 4096, "data that fills the window")
		buf := make([]byte, 1023)
		n, err := m.Main().Read(buf)
		require.NoError(t, err)
		require.Equal(t, 1023, n)
		p.wantIdle("no credit before a quarter of the window is read")
		_, err = m.Main().Read(buf[:1])
		require.NoError(t, err)
		assert.EqualValues(t, 1024, p.wantCredit(1, packet.ClassRaw, "credit when a quarter of the window is read"))
		n, err = io.ReadFull(m.Main(), buf)
		require.NoError(t, err)
		require.Equal(t, 1023, n)
		p.wantIdle("no credit before the second quarter of the window is read")
	})
}

// A Read that waits returns as soon as bytes have arrived, even if its buffer is not full.
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
			require.Len(t, done, 1, "reads that have returned after the arrival of %d bytes", size)
			n := <-done
			require.NotZero(t, n)
			_, err := io.ReadFull(m.Main(), buf[n:size])
			require.NoError(t, err)
		}
	})
}

// After each kind of end, Read returns the bytes that have arrived before, then the error.
func TestEndOfData(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(p *peer)
		want error
	}{
		{"fin", func(p *peer) { p.writeData(3, packet.FlagFin, 0, "") }, io.EOF},
		{"fin and close", func(p *peer) { p.writeData(3, packet.FlagFin|packet.FlagClose, 0, "") }, io.EOF},
		{"cut of the transport", func(p *peer) { p.nc.Close() }, &lostError{io.ErrUnexpectedEOF}},
		{"close of the connection", func(p *peer) { p.writeReason(packet.TypeClose, 0, 0, "", "") }, io.EOF},
		{"close of the connection, with a code", func(p *peer) { p.writeReason(packet.TypeClose, 0, 10, "cut", "") },
			&lostError{&geminio.RemoteError{Code: 10, Text: "cut"}}},
		{"reset, then cut of the transport", func(p *peer) {
			p.writeReason(packet.TypeReset, 3, 77, "because", "")
			p.nc.Close()
		}, &geminio.StreamError{Code: 77, Text: "because", Remote: true}},
		{"fin, then cut of the transport", func(p *peer) {
			p.writeData(3, packet.FlagFin, 0, "")
			p.nc.Close()
		}, io.EOF},
		{"reset", func(p *peer) { p.writeReason(packet.TypeReset, 3, 77, "because", "") },
			&geminio.StreamError{Code: 77, Text: "because", Remote: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				p.writeData(3, 0, 100, "data before the end")
				test.end(p)
				synctest.Wait()
				buf := make([]byte, 60)
				n, err := d.Read(buf)
				require.NoError(t, err)
				require.Equal(t, 60, n)
				n, err = d.Read(buf)
				require.NoError(t, err)
				require.Equal(t, 40, n, "bytes that arrived before the end")
				for range 3 {
					n, err = d.Read(buf)
					require.Zero(t, n)
					require.Equal(t, test.want, err)
				}
			})
		})
	}
}

// Each kind of end, and the deadline, ends all Reads that wait.
func TestEndWakesAReader(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(p *peer, d *Dialogue)
		want error
	}{
		{"fin of the peer", func(p *peer, d *Dialogue) { p.writeData(3, packet.FlagFin, 0, "") }, io.EOF},
		{"reset of the peer", func(p *peer, d *Dialogue) { p.writeReason(packet.TypeReset, 3, 77, "x", "") },
			&geminio.StreamError{Code: 77, Text: "x", Remote: true}},
		{"Close", func(p *peer, d *Dialogue) { d.Close() }, io.EOF},
		{"CloseRead", func(p *peer, d *Dialogue) { d.CloseRead() }, io.EOF},
		{"Reset", func(p *peer, d *Dialogue) { d.Reset(packet.Reason{}) }, io.EOF},
		{"cut of the transport", func(p *peer, d *Dialogue) { p.nc.Close() }, &lostError{io.ErrUnexpectedEOF}},
		{"Close of the Mux", func(p *peer, d *Dialogue) { d.m.Close(io.EOF, packet.Reason{}) }, io.EOF},
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

// CloseRead discards raw bytes and tells the peer once. Packets and the other direction go
// on.
func TestCloseRead(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		p.writeData(3, 0, 1000, "data that is not read")
		synctest.Wait()
		require.NoError(t, d.CloseRead())
		p.wantReason(packet.TypeStop, 3, 0, "a stop after CloseRead")
		n, err := d.Read(make([]byte, 10))
		assert.Zero(t, n)
		assert.Equal(t, io.EOF, err, "bytes that arrived before CloseRead are discarded")
		p.writeData(3, 0, 3096, "data that was on its way")
		p.writeData(3, packet.FlagFin, 0, "the fin behind it")
		require.NoError(t, d.CloseRead(), "the second CloseRead")
		p.wantIdle("no credit and no second stop")
		p.writePacket(packet.TypeRequest, 3, 1, 10, "a request after CloseRead")
		synctest.Wait()
		assert.Len(t, h.got(), 1)
		_, err = d.Write([]byte("hello"))
		require.NoError(t, err)
		p.want(packet.TypeData, 0, 3, "data of this side after CloseRead")
	})
}

// The peer reads the bytes that were written, with any sizes of Writes and Reads, and Close
// delivers all of them.
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
					clear(p) // Write has returned, so the memory is free
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
					t.Error("the bytes read are not the bytes written")
				}
			})
		}
		all.Wait()
	})
}

// WriteTo and ReadFrom copy all bytes, and return the errors of the reader or writer that
// they are given.
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

		bad := errors.New("bad")
		_, err = near.ReadFrom(io.MultiReader(bytes.NewReader(data[:10]), errReader{bad}))
		assert.Equal(t, net.ErrClosed, err, "ReadFrom after CloseWrite")
		_, err = far.ReadFrom(io.MultiReader(bytes.NewReader(data[:10]), errReader{bad}))
		assert.Equal(t, bad, err)
		_, err = near.WriteTo(errWriter{bad})
		assert.Equal(t, bad, err)
	})
}

// errReader is a reader that fails.
type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// errWriter is a writer that fails.
type errWriter struct{ err error }

func (w errWriter) Write([]byte) (int, error) { return 0, w.err }

// Read copies without holding the lock. The end of the stream meanwhile must not change the
// bytes that Read copies; the race detector and the values of the bytes show a change.
func TestReadWhileTheStreamEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(near, far *Dialogue)
	}{
		{"CloseRead", func(_, far *Dialogue) { far.CloseRead() }},
		{"Reset", func(_, far *Dialogue) { far.Reset(packet.Reason{}) }},
		{"Close", func(_, far *Dialogue) { far.Close() }},
		{"Reset by the peer", func(near, _ *Dialogue) { near.Reset(packet.Reason{}) }},
		{"Close by the peer", func(near, _ *Dialogue) { near.Close() }},
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
