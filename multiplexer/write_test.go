package multiplexer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

// cutWrite starts a Write that waits for credit which the peer does not give. If two is set,
// it starts a second Write behind it. The channel receives the errors of both.
func cutWrite(d *Dialogue, size int, two bool) <-chan error {
	ended := make(chan error, 2)
	go func() { ended <- errOf(d.Write(make([]byte, size))) }()
	if two {
		synctest.Wait()
		go func() { ended <- errOf(d.Write(make([]byte, size))) }()
	}
	synctest.Wait()
	return ended
}

// wantWritten reads the raw bytes of a stream until another frame comes, and returns that
// frame. There must be window bytes.
func wantWritten(t *testing.T, p *peer, stream uint64, window int) (packet.Header, []byte) {
	t.Helper()
	got := 0
	for {
		h, payload := p.next("raw bytes, then the end of the stream")
		if h.Type != packet.TypeData || h.Stream != stream || len(payload) == 0 {
			require.Equal(t, window, got, "bytes for which there was credit")
			return h, payload
		}
		got += len(payload)
	}
}

// A stream that is closed while a Write is under way is reset, behind the bytes and packets
// that were queued. With io.EOF, the reader would take the bytes for all of them.
func TestCloseDuringAWrite(t *testing.T) {
	for _, test := range []struct {
		name  string
		close func(d *Dialogue)
		code  geminio.Code
		read  error // of a Read of this side after the end
	}{
		{"Close", func(d *Dialogue) { d.Close() }, geminio.CodeClosed, io.EOF},
		{"CloseWrite", func(d *Dialogue) { d.CloseWrite() }, geminio.CodeClosed,
			&geminio.StreamError{Code: geminio.CodeClosed, Text: cutText}},
		{"CloseWrite, then Close", func(d *Dialogue) { d.CloseWrite(); d.Close() }, geminio.CodeClosed, nil},
		{"the End", func(d *Dialogue) { d.m.Close(io.EOF, packet.Reason{}) }, geminio.CodeGoingAway, io.EOF},
		{"Close, then the End", func(d *Dialogue) {
			d.Close()
			d.m.Close(io.EOF, packet.Reason{})
		}, 0, io.EOF},
	} {
		for _, size := range []int{5000, 100_000} {
			for _, two := range []bool{false, true} {
				t.Run(fmt.Sprint(test.name, " ", size, " ", two), func(t *testing.T) {
					newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
						d := openFrom(t, m, p, 3)
						ended := cutWrite(d, size, two)
						require.NoError(t, d.Send(context.Background(), 0, packet.TypeMessage, 7, nil, make([]byte, 10_000), AtOnce))
						test.close(d)
						synctest.Wait()
						assert.Error(t, <-ended)
						if two {
							assert.Error(t, <-ended)
						}
						head, payload := wantWritten(t, p, 3, 4<<10)
						if head.Type == packet.TypeMessage {
							head, payload = wantWritten(t, p, 3, 0)
						}
						require.Equal(t, packet.TypeReset, head.Type)
						n, err := packet.ParseReason(head.Type, payload)
						require.NoError(t, err)
						if test.code != 0 {
							assert.Equal(t, test.code, geminio.Code(n.Code))
						}
						assert.Equal(t, cutText, n.Text)
						synctest.Wait()
						closings, _ := h.closings(d)
						assert.Equal(t, 1, closings)
						_, err = d.Read(make([]byte, 1))
						if test.read != nil {
							assert.Equal(t, test.read, err)
						}
						_, err = d.Write([]byte{1})
						assert.True(t, errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe), err)
						if m.c.Cause() != nil {
							p.wantReason(packet.TypeClose, 0, 0, "a close without a reason: the default stream was not cut off")
							return
						}
						p.wantIdle("no frame for the stream behind its reset")
						m.mu.Lock()
						assert.Equal(t, 1, m.table.len())
						assert.Zero(t, m.streams.peer)
						m.mu.Unlock()
					})
				})
			}
		}
	}
}

// A Write whose bytes were all queued before the stream was closed is not cut off.
func TestCloseAsAWriteEnds(t *testing.T) {
	for _, closeIt := range []func(d *Dialogue) error{(*Dialogue).Close, (*Dialogue).CloseWrite} {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			d := openFrom(t, m, p, 3)
			written, err := d.Write(make([]byte, 4<<10)) // uses all credit
			require.NoError(t, err)
			require.NoError(t, closeIt(d))
			_, err = d.Write(make([]byte, 10)) // fails, and is not cut off
			assert.Equal(t, net.ErrClosed, err)
			got := 0
			for {
				head, payload := p.next("the bytes that were written")
				require.Equal(t, packet.TypeData, head.Type)
				got += len(payload)
				if head.Flags&packet.FlagFin != 0 {
					break
				}
			}
			assert.Equal(t, written, got)
		})
	}
}

// A Write that has failed at its deadline before the stream is closed is not cut off.
func TestCloseAfterAWriteThatTimedOut(t *testing.T) {
	for _, size := range []int{5000, 100_000} {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			d := openFrom(t, m, p, 3)
			d.SetWriteDeadline(time.Now().Add(time.Second))
			_, err := d.Write(make([]byte, size))
			require.Error(t, err)
			require.NoError(t, d.Close())
			head, _ := wantWritten(t, p, 3, 4<<10)
			assert.Equal(t, packet.FlagFin|packet.FlagClose, head.Flags)
		})
	}
}

// The default stream cannot be reset: the Close frame of the connection says that a Write
// was cut off.
func TestEndDuringAWriteOnTheDefaultStream(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(m *Mux)
		code geminio.Code
	}{
		{"Close", func(m *Mux) { m.Close(io.EOF, packet.Reason{}) }, geminio.CodeGoingAway},
		{"CloseWrite, then Close", func(m *Mux) {
			m.main.CloseWrite()
			synctest.Wait()
			m.Close(io.EOF, packet.Reason{})
		}, geminio.CodeGoingAway},
		{"Close with a code of its own", func(m *Mux) {
			m.Close(geminio.ErrReplaced, packet.Reason{Code: uint32(geminio.CodeReplaced)})
		}, geminio.CodeReplaced},
	} {
		for _, size := range []int{5000, 100_000} {
			for _, two := range []bool{false, true} {
				t.Run(fmt.Sprint(test.name, " ", size, " ", two), func(t *testing.T) {
					newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
						other := openFrom(t, m, p, 3)
						_, err := other.Write([]byte("all of it"))
						require.NoError(t, err)
						p.want(packet.TypeData, 0, 3, "data of another stream")
						ended := cutWrite(m.main, size, two)
						test.end(m)
						head, payload := wantWritten(t, p, 1, 4<<10)
						require.Equal(t, packet.TypeClose, head.Type)
						n, err := packet.ParseReason(head.Type, payload)
						require.NoError(t, err)
						assert.Equal(t, test.code, geminio.Code(n.Code))
						assert.Error(t, <-ended)
					})
				})
			}
		}
	}
}

// CloseWrite during a Write on the default stream sends no frame. The reader is told at the
// end of the connection.
func TestCloseWriteDuringAWriteOnTheDefaultStream(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		ended := cutWrite(m.main, 5000, false)
		require.NoError(t, m.main.CloseWrite())
		assert.Equal(t, net.ErrClosed, <-ended)
		for got := 0; got < 4<<10; {
			got += len(p.want(packet.TypeData, 0, 1, "the bytes for which there was credit"))
		}
		p.wantIdle("no fin and no reset")
		p.writePacket(packet.TypeRequest, 1, 1, 1, "a request after CloseWrite")
		require.NoError(t, m.main.Send(t.Context(), 0, packet.TypeResponse, 1, nil, nil, AtOnce))
		p.wantPacket(packet.TypeResponse, 1, "the response")
	})
}

// The reader reads exactly the bytes that Write has returned, if the connection is closed
// during Writes. If a Write returns only a part of its bytes, the reader gets an error.
func TestWriteAsTheConnectionCloses(t *testing.T) {
	for range 300 {
		near, far := kit.TCPPair(t)
		s := newSetup()
		s.local.Raw, s.peer.Raw = 64<<10, 64<<10
		ms, _ := s.startPair(t, near, far)
		a, b := openPair(t, ms)
		type result struct {
			n   int
			err error
		}
		copied := func(from io.Reader) <-chan result {
			ch := make(chan result, 1)
			go func() {
				n, err := io.Copy(io.Discard, from)
				ch <- result{int(n), err}
			}()
			return ch
		}
		written := func(to io.Writer, size int) <-chan result {
			ch := make(chan result, 1)
			go func() {
				total, p := 0, make([]byte, size)
				for {
					n, err := to.Write(p)
					total += n
					if err != nil {
						if n == 0 {
							err = nil // no Write has written a part of its bytes
						}
						ch <- result{total, err}
						return
					}
				}
			}()
			return ch
		}
		readA, readMain := copied(b), copied(ms[1].Main())
		wroteA, wroteMain := written(a, 10_000), written(ms[0].Main(), 300)
		time.Sleep(100 * time.Microsecond)
		ms[0].Close(io.EOF, packet.Reason{})
		for _, pair := range [][2]<-chan result{{wroteA, readA}, {wroteMain, readMain}} {
			w, r := <-pair[0], <-pair[1]
			require.Equal(t, w.n, r.n, "the bytes that were read, of those that were written")
			if w.err != nil {
				require.Error(t, r.err, "the error of the reader when a Write has written a part of its bytes")
			}
		}
		stopPair(ms)
	}
}

// A Stop that comes after a Write was cut off, and before the Reset for that is sent, does
// not keep the Reset from being sent.
func TestStopAfterAWriteWasCutOff(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		ended := cutWrite(d, 5000, false)
		require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, 7, nil, make([]byte, 10_000), AtOnce))
		d.Close()
		assert.Error(t, <-ended)
		synctest.Wait() // the transport is blocked, so the end of the stream is not sent
		p.writeReason(packet.TypeStop, 3, geminio.CodeClosed, "", "a stop before the reset is sent")
		for {
			head, _ := p.next("a reset behind the queued bytes and packets")
			if head.Type == packet.TypeReset {
				break
			}
		}
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		assert.Equal(t, 1, m.table.len())
	})
}

// Each kind of end ends all Writes that wait.
func TestEndWakesAWriter(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(p *peer, d *Dialogue)
		want error
	}{
		{"stop of the peer", func(p *peer, d *Dialogue) { p.writeReason(packet.TypeStop, 3, 7, "enough", "") }, io.ErrClosedPipe},
		{"reset of the peer", func(p *peer, d *Dialogue) { p.writeReason(packet.TypeReset, 3, 7, "enough", "") }, io.ErrClosedPipe},
		{"close of the peer", func(p *peer, d *Dialogue) {
			p.writeData(3, packet.FlagFin|packet.FlagClose, 0, "")
		}, io.ErrClosedPipe},
		{"Close", func(p *peer, d *Dialogue) { d.Close() }, net.ErrClosed},
		{"CloseWrite", func(p *peer, d *Dialogue) { d.CloseWrite() }, net.ErrClosed},
		{"Reset", func(p *peer, d *Dialogue) { d.Reset(packet.Reason{}) }, io.ErrClosedPipe},
		{"cut of the transport", func(p *peer, d *Dialogue) { p.nc.Close() }, io.ErrClosedPipe},
		{"Close of the Mux", func(p *peer, d *Dialogue) { d.m.Close(io.EOF, packet.Reason{}) }, io.ErrClosedPipe},
	} {
		for _, size := range []int{5000, 100_000} {
			t.Run(test.name, func(t *testing.T) {
				newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
					d := openFrom(t, m, p, 3)
					var writers []<-chan error
					for range 3 {
						writers = append(writers, kit.Start(func() error { return errOf(d.Write(make([]byte, size))) }))
					}
					synctest.Wait()
					test.end(p, d)
					synctest.Wait()
					for _, w := range writers {
						require.Len(t, w, 1)
						assert.ErrorIs(t, <-w, test.want)
					}
				})
			})
		}
	}
}

// Concurrent Writes and Reads of all sizes lose no bytes.
func TestConcurrentWritersAndReaders(t *testing.T) {
	newSetup().bothTransports(t, func(t *testing.T, ms [2]*Mux, hs [2]*fakeHandler) {
		near, far := openPair(t, ms)
		const writers, writes = 8, 30
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				for k := range writes {
					p := make([]byte, 1+(i*7919+k*104729)%30_000)
					for j := range p {
						p[j] = byte(i + 1)
					}
					p[len(p)-1] = 0
					if _, err := near.Write(p); err != nil {
						t.Error(err)
					}
				}
			})
		}
		go func() {
			all.Wait()
			near.CloseWrite()
		}()
		var lock sync.Mutex
		total, ends := 0, 0
		want := 0
		for i := range writers {
			for k := range writes {
				want += 1 + (i*7919+k*104729)%30_000
			}
		}
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				buf := make([]byte, 10_000)
				for {
					n, err := far.Read(buf)
					lock.Lock()
					total += n
					for _, b := range buf[:n] {
						if b == 0 {
							ends++
						}
					}
					lock.Unlock()
					if err != nil {
						return
					}
				}
			})
		}
		readers.Wait()
		assert.Equal(t, want, total)
		assert.Equal(t, writers*writes, ends)
	})
}

// Concurrent Writes take turns: the bytes of one follow each other without those of another.
func TestWritesAreNotTornApart(t *testing.T) {
	newSetup().bothTransports(t, func(t *testing.T, ms [2]*Mux, hs [2]*fakeHandler) {
		near, far := openPair(t, ms)
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				for range 10 {
					p := make([]byte, 20_000)
					for j := range p {
						p[j] = byte(i)
					}
					near.Write(p)
				}
			})
		}
		go func() { all.Wait(); near.Close() }()
		block := make([]byte, 20_000)
		blocks := 0
		for {
			if _, err := io.ReadFull(far, block); err != nil {
				assert.Equal(t, io.EOF, err)
				break
			}
			blocks++
			require.Equal(t, len(block), bytes.Count(block, block[:1]), "bytes of the first Write in block %d", blocks)
		}
		assert.Equal(t, 60, blocks)
	})
}
