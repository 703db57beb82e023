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

func TestDataViolations(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(p *peer)
		want  []string
	}{
		{"beyond the window", func(p *peer) {
			p.writeData(1, 0, 4000, "within")
			p.writeData(1, 0, 97, "beyond")
		}, []string{"raw bytes", "97 sent with credit for 96"}},
		{"more than the window at once", func(p *peer) {
			p.writeData(1, 0, 4097, "beyond")
		}, []string{"4097 sent with credit for 4096"}},
		{"more than the window of a new stream", func(p *peer) {
			p.write(append(packet.AppendOpen(nil, 3, packet.Open{Windows: p.windows}),
				frameBytes(packet.TypeData, 0, 3, make([]byte, 5000))...), "open and data")
			p.want(packet.TypeAccept, 0, 3, "it is open")
		}, []string{"5000 sent with credit for 4096"}},
		{"a stream that was never opened", func(p *peer) { p.writeData(5, 0, 1, "") }, []string{"stream 5 was never opened"}},
		{"one that this side never opened", func(p *peer) { p.writeData(2, 0, 1, "") }, []string{"stream 2 was never opened"}},
		{"a packet for such a one", func(p *peer) { p.writePacket(packet.TypeRequest, 5, 1, 0, "") }, []string{"stream 5 was never opened"}},
		{"stop of such a one", func(p *peer) { p.writeReason(packet.TypeStop, 5, 1, "", "") }, []string{"stream 5 was never opened"}},
		{"reset of such a one", func(p *peer) { p.writeReason(packet.TypeReset, 5, 1, "", "") }, []string{"stream 5 was never opened"}},
		{"data behind the end", func(p *peer) {
			p.writeData(1, packet.FlagFin, 10, "the last bytes")
			p.writeData(1, 0, 10, "more")
		}, []string{"10 bytes behind the end of stream 1"}},
		{"the end twice", func(p *peer) {
			p.writeData(1, packet.FlagFin, 10, "the last bytes")
			p.writeData(1, packet.FlagFin, 0, "again")
		}, []string{"0 bytes behind the end of stream 1"}},
		{"close without fin", func(p *peer) { p.writeData(1, packet.FlagClose, 0, "") }, []string{"close without fin"}},
		{"a short notice", func(p *peer) { p.writeFrame(packet.TypeReset, 0, 1, make([]byte, 7), "") }, []string{"reset", "7 bytes"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				test.write(p)
				p.wantViolation(test.name, test.want...)
				assert.ErrorIs(t, m.c.Cause(), geminio.ErrProtocol)
				var bad *packet.Error
				assert.ErrorAs(t, m.c.Cause(), &bad)
			})
		})
	}
}

func frameBytes(typ packet.Type, flags packet.Flags, stream uint64, payload []byte) []byte {
	b := packet.AppendHeader(nil, packet.Header{Type: typ, Flags: flags, Stream: stream, Length: uint32(len(payload))})
	return append(b, payload...)
}

func TestFramesOfClosedStreamsAreIgnored(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		theirs, mine := openFrom(t, m, p, 3), openTo(t, m, p)
		for _, d := range []*Dialogue{theirs, mine} {
			d.Reset(packet.Reason{Code: 9})
			p.wantReason(packet.TypeReset, d.DialogueID(), 9, "reset")
			id := d.DialogueID()
			p.writeData(id, 0, 50000, "even without credit")
			p.writeData(id, packet.FlagFin, 10, "the last bytes")
			p.writeData(id, packet.FlagFin|packet.FlagClose, 0, "the end")
			p.writeReason(packet.TypeStop, id, 1, "", "stop")
			p.writeReason(packet.TypeReset, id, 1, "", "reset")
			p.writePacket(packet.TypeMessage, id, 1, 100, "a message")
			p.writePacket(packet.TypeResponse, id, 1, 100, "a response")
			p.writePacket(packet.TypeCancel, id, 1, 4, "a cancel")
			n, cause := h.closings(d)
			assert.Equal(t, 1, n)
			assert.Equal(t, io.EOF, cause)
		}
		p.wantIdle("nothing is said to all that")
		assert.NoError(t, m.c.Cause())
		assert.Empty(t, h.got())
	})
}

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

func TestCloseHandshake(t *testing.T) {
	const end = packet.FlagFin | packet.FlagClose
	type dialogue struct {
		*Mux
		*fakeHandler
		*peer
		d *Dialogue
	}
	for _, test := range []struct {
		name string
		do   func(t *testing.T, d dialogue)
	}{
		{"this side first", func(t *testing.T, d dialogue) {
			d.d.Write([]byte("last"))
			require.NoError(t, d.d.Close())
			var got []byte
			for { // in one frame or in two
				head, payload := d.next("what was written")
				got = append(got, payload...)
				if head.Flags == end {
					break
				}
			}
			assert.Equal(t, "last", string(got))
			assert.Len(t, d.table, 2, "frames may still come for it")
			d.writeData(3, 0, 1000, "on its way")
			d.writePacket(packet.TypeMessage, 3, 1, 10, "on its way")
			d.writeData(3, end, 0, "the peer's end")
		}},
		{"the peer first", func(t *testing.T, d dialogue) {
			d.writeData(3, end, 4, "the peer's end")
			d.want(packet.TypeData, end, 3, "the answer")
			_, err := d.d.Write([]byte("x"))
			assert.Equal(t, io.ErrClosedPipe, err)
			buf := make([]byte, 10)
			n, _ := d.d.Read(buf)
			assert.Equal(t, 4, n, "what came can be read")
			require.NoError(t, d.d.Close())
		}},
		{"both at once", func(t *testing.T, d dialogue) {
			blockWriter(t, d.Mux)
			require.NoError(t, d.d.Close())
			d.writeData(3, end, 0, "the peer's end")
			synctest.Wait()
			d.want(packet.TypeData, 0, 1, "what blocked the writer")
			d.want(packet.TypeData, end, 3, "this side's end")
		}},
		{"after half closes", func(t *testing.T, d dialogue) {
			require.NoError(t, d.d.CloseWrite())
			d.want(packet.TypeData, packet.FlagFin, 3, "half")
			d.writeData(3, packet.FlagFin, 0, "and half")
			synctest.Wait()
			n, _ := d.closings(d.d)
			assert.Zero(t, n, "packets can go both ways still")
			d.writePacket(packet.TypeRequest, 3, 1, 1, "they do")
			require.NoError(t, d.d.Send(t.Context(), 0, packet.TypeResponse, 1, nil, nil, AtOnce))
			d.wantPacket(packet.TypeResponse, 3, "they do")
			assert.Equal(t, net.ErrClosed, errOf(d.d.Write([]byte{1})))
			require.NoError(t, d.d.Close())
			d.want(packet.TypeData, end, 3, "the end")
			d.writeData(3, end, 0, "the peer's end")
		}},
		{"after a stop", func(t *testing.T, d dialogue) {
			d.writeReason(packet.TypeStop, 3, 5, "enough", "the peer reads no more")
			synctest.Wait()
			assert.Equal(t, &geminio.StreamError{Code: 5, Text: "enough", Remote: true}, errOf(d.d.Write([]byte{1})))
			require.NoError(t, d.d.CloseWrite())
			d.wantIdle("the peer does not care")
			require.NoError(t, d.d.Close())
			d.want(packet.TypeData, end, 3, "the end")
			d.writeData(3, end, 0, "the peer's end")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				test.do(t, dialogue{m, h, p, d})
				p.wantIdle("nothing is left to say")
				m.mu.Lock()
				defer m.mu.Unlock()
				assert.Len(t, m.table, 1, "it is gone")
				assert.Zero(t, m.peerStreams)
				assert.EqualValues(t, 8<<10, m.windows.used, "those of the default one")
				n, cause := h.closings(d)
				assert.Equal(t, 1, n)
				assert.Equal(t, io.EOF, cause)
			})
		})
	}
}

func errOf(_ int, err error) error { return err }

func TestResetCarriesItsCode(t *testing.T) {
	newSetup().bothTransports(t, func(t *testing.T, ms [2]*Mux, hs [2]*fakeHandler) {
		near, far := openPair(t, ms)
		near.Reset(packet.Reason{Code: 1234, Text: "no such file"})
		want := &geminio.StreamError{Code: 1234, Text: "no such file", Remote: true}
		_, err := far.Read(make([]byte, 1))
		assert.Equal(t, want, err)
		assert.Equal(t, want, errOf(far.Write([]byte{1})))
		assert.ErrorIs(t, err, io.ErrClosedPipe)
		_, err = near.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
		assert.Equal(t, &geminio.StreamError{Code: 1234, Text: "no such file"}, errOf(near.Write([]byte{1})))
		assert.NoError(t, near.Close(), "nothing is left to do")
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
