package multiplexer

import (
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// A deadline ends Reads, also if it is set, moved or removed while they wait.
func TestReadDeadline(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d, buf := m.Main(), make([]byte, 10)
		start := time.Now()
		d.SetReadDeadline(start.Add(3 * time.Second))
		_, err := d.Read(buf)
		assert.Equal(t, os.ErrDeadlineExceeded, err)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
		assert.Equal(t, 3*time.Second, time.Since(start))

		p.writeData(1, 0, 10, "data after the deadline")
		synctest.Wait()
		_, err = d.Read(buf)
		assert.Equal(t, os.ErrDeadlineExceeded, err, "a Read after the deadline, with data")
		d.SetReadDeadline(time.Now().Add(-time.Second))
		_, err = d.Read(buf)
		assert.Equal(t, os.ErrDeadlineExceeded, err, "with a deadline in the past")
		d.SetReadDeadline(time.Time{})
		n, err := d.Read(buf)
		assert.NoError(t, err, "without a deadline")
		assert.Equal(t, 10, n, "bytes that arrived before")

		// The deadline of a Read that waits is postponed, removed, and set to now.
		d.SetReadDeadline(time.Now().Add(time.Second))
		waits := kit.Start(func() error { return errOf(d.Read(buf)) })
		d.SetReadDeadline(time.Now().Add(time.Minute))
		time.Sleep(2 * time.Second)
		kit.Blocked(t, waits)
		d.SetReadDeadline(time.Time{})
		time.Sleep(time.Hour / 2)
		kit.Blocked(t, waits)
		d.SetReadDeadline(time.Now())
		assert.Equal(t, os.ErrDeadlineExceeded, <-waits)
	})
}

// After the end of a dialogue, a deadline that has passed does not keep Read and Write from
// returning the bytes that are left and the error of the end.
func TestTheEndComesBeforeTheDeadline(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(p *peer, d *Dialogue)
		left int // bytes that can still be read
		read error
		// write is the error of Write: os.ErrDeadlineExceeded if Write is not ended.
		write error
	}{
		{"close", func(_ *peer, d *Dialogue) { d.Close() }, 10, io.EOF, net.ErrClosed},
		{"close read", func(_ *peer, d *Dialogue) { d.CloseRead() }, 0, io.EOF, os.ErrDeadlineExceeded},
		{"reset", func(_ *peer, d *Dialogue) { d.Reset(packet.Reason{}) }, 10, io.EOF, io.ErrClosedPipe},
		{"end of the connection", func(_ *peer, d *Dialogue) { d.m.Close(io.EOF, packet.Reason{}) }, 10, io.EOF, io.ErrClosedPipe},
		{"half close by the peer", func(p *peer, d *Dialogue) {
			p.writeData(d.id, packet.FlagFin, 0, "a fin")
		}, 10, io.EOF, os.ErrDeadlineExceeded},
		{"close by the peer", func(p *peer, d *Dialogue) {
			p.writeData(d.id, packet.FlagFin|packet.FlagClose, 0, "a close")
		}, 10, io.EOF, io.ErrClosedPipe},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				p.writeData(3, 0, 10, "data before the end")
				synctest.Wait()
				d.SetDeadline(time.Now())
				go io.Copy(io.Discard, p.nc)
				assert.Equal(t, os.ErrDeadlineExceeded, errOf(d.Read(make([]byte, 1))), "the error of Read before the end")
				test.end(p, d)
				synctest.Wait()
				for range 2 {
					all, err := io.ReadAll(d)
					require.NoError(t, err)
					assert.Len(t, all, test.left)
					test.left = 0
					assert.Equal(t, test.read, errOf(d.Read(make([]byte, 1))))
					assert.ErrorIs(t, errOf(d.Write(make([]byte, 1))), test.write)
					d.SetDeadline(time.Now().Add(-time.Hour))
				}
			})
		})
	}
}

// Bytes that arrive around the deadline of a Read are read by that Read or by the next one.
func TestReadDeadlineLosesNothing(t *testing.T) {
	newSetup().bothTransports(t, func(t *testing.T, ms [2]*Mux, hs [2]*fakeHandler) {
		near, far := openPair(t, ms)
		const total = 300_000
		sent := kit.Start(func() error {
			r := newRand(t)
			for i := 0; i < total; {
				p := make([]byte, min(total-i, 1+r.IntN(3000)))
				for k := range p {
					p[k] = byte(i + k)
				}
				if _, err := near.Write(p); err != nil {
					return err
				}
				i += len(p)
			}
			return nil
		})
		buf := make([]byte, 5000)
		for i := 0; i < total; {
			far.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
			n, err := far.Read(buf)
			for k, b := range buf[:n] {
				require.Equal(t, byte(i+k), b, "byte %d", i+k)
			}
			i += n
			if err != nil {
				require.Equal(t, os.ErrDeadlineExceeded, err)
			}
		}
		require.NoError(t, <-sent)
	})
}

// A Write returns at its deadline with the number of bytes that are sent or queued.
func TestWriteDeadline(t *testing.T) {
	for _, size := range []int{100, 3000, 5000, 100_000} {
		newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
			d := m.Main()
			d.SetWriteDeadline(time.Now().Add(-time.Second))
			n, err := d.Write(make([]byte, size))
			assert.Zero(t, n)
			assert.Equal(t, os.ErrDeadlineExceeded, err, "with a deadline in the past")

			start := time.Now()
			d.SetWriteDeadline(start.Add(3 * time.Second))
			written := 0
			for err = nil; err == nil; {
				n, err = d.Write(make([]byte, size))
				written += n
			}
			assert.Equal(t, os.ErrDeadlineExceeded, err)
			assert.Equal(t, 3*time.Second, time.Since(start))
			assert.EqualValues(t, testSettings().Raw, written, "bytes for which there was credit")
			got := 0
			for got < written {
				got += len(p.want(packet.TypeData, 0, 1, "the bytes that Write has returned"))
			}
			assert.Equal(t, written, got)

			d.SetWriteDeadline(time.Time{})
			p.writeCredit(1, packet.ClassRaw, 10, "credit for another Write")
			n, err = d.Write(make([]byte, 10))
			require.NoError(t, err, "a Write without a deadline")
			assert.Equal(t, 10, n)
			p.want(packet.TypeData, 0, 1, "its bytes")
		})
	}
}

// While the transport is blocked, Writes that copy and Writes that lend return at their
// deadline. Nothing reads lent memory after that.
func TestWriteDeadlineWhileTheTransportIsBlocked(t *testing.T) {
	for _, size := range []int{100, 1 << 20} {
		s := newSetup()
		s.peer.Raw = 1 << 30
		near, far := kit.TCPPair(t)
		m, _, p := s.start(t, near, far)
		d := m.Main()
		d.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		written, buf := 0, make([]byte, size)
		for i := range buf {
			buf[i] = 1
		}
		for {
			n, err := d.Write(buf)
			written += n
			if err != nil {
				require.Equal(t, os.ErrDeadlineExceeded, err)
				break
			}
		}
		clear(buf)
		m.mu.Lock()
		assert.EqualValues(t, 1<<30-written, d.credit.tx[packet.ClassRaw].avail, "credit that was not used")
		m.mu.Unlock()
		got, wrong := 0, 0
		for got < written {
			head, payload := p.next("the bytes that Write has returned")
			require.Equal(t, packet.TypeData, head.Type)
			got += len(payload)
			for _, b := range payload {
				if b != 1 {
					wrong++
				}
			}
		}
		assert.Zero(t, wrong, "bytes of %d that were read from the memory after Write had returned", got)
		assert.Equal(t, written, got, "bytes that the peer has received")
		p.nc.Close()
		<-m.c.Done()
	}
}
