package wire1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/clock"
	"github.com/singchia/geminio/packet"
)

// wire is a Transport between a model Conn and a peer. The test drives both.
type wire struct {
	t    *testing.T
	tr   *Transport
	peer net.Conn
	conn *model
}

// overPipe runs a test with a Transport in a synctest bubble.
func overPipe(t *testing.T, side geminio.Side, change func(*Config), f func(t *testing.T, w *wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		cfg := Config{
			Side: side, Offer: testOffer(), Budget: testBudget, Period: testPeriod, Silence: 2 * testPeriod, Linger: testLinger,
			FirstID: 1000,
		}
		if change != nil {
			change(&cfg)
		}
		w := &wire{t: t, tr: NewTransport(near, cfg, clock.Runtime()), peer: far, conn: newModel(t, side, cfg.Offer)}
		defer w.tr.Close()
		defer far.Close()
		f(t, w)
	})
}

// write writes bytes of the peer.
func (w *wire) write(b []byte) {
	w.t.Helper()
	_, err := w.peer.Write(b)
	require.NoError(w.t, err)
}

// read reads a packet at the peer.
func (w *wire) read(want Type) Packet {
	w.t.Helper()
	var header [HeaderLen]byte
	_, err := io.ReadFull(w.peer, header[:])
	require.NoError(w.t, err)
	h, err := ParseHeader(header[:])
	require.NoError(w.t, err)
	body := make([]byte, h.Length)
	_, err = io.ReadFull(w.peer, body)
	require.NoError(w.t, err)
	p, err := Parse(h, body)
	require.NoError(w.t, err)
	require.Equal(w.t, want.String(), p.Type.String())
	return p
}

// frames reads frames at the Conn until there is an event of that type.
func (w *wire) frames(want packet.Type) event {
	w.t.Helper()
	buf := make([]byte, 1000)
	for seen := 0; ; {
		for ; seen < len(w.conn.events); seen++ {
			if e := w.conn.events[seen]; e.typ == want {
				w.conn.events = w.conn.events[seen+1:]
				return e
			}
		}
		n, err := w.tr.Read(buf)
		require.NoError(w.t, err)
		w.conn.feed(buf[:n])
	}
}

func TestTransport(t *testing.T) {
	overPipe(t, geminio.RecipientSide, nil, func(t *testing.T, w *wire) {
		b := Append(nil, Packet{Type: TypeStream, Session: 1, Raw: []byte("hello")})
		b = Append(b, Packet{Type: TypeMessage, ID: 7, Session: 1, Content: Content{Value: []byte("m")}})
		for i := range b {
			w.write(b[i : i+1])
		}
		for got := ""; got != "hello"; {
			got += string(w.frames(packet.TypeData).data)
			require.Contains(t, "hello", got)
		}
		e := w.frames(packet.TypeMessage)
		assert.Equal(t, "m", string(e.msg.Data))

		a := packet.Answer{}
		frames := w.conn.send(w.conn.streams[1], packet.TypeAck, e.number, a.Append(nil), nil)
		frames = append(frames, sendFrame(packet.Header{Type: packet.TypeData, Stream: 1}, []byte("world")...)...)
		for i := range frames {
			n, err := w.tr.Write(frames[i : i+1])
			require.NoError(t, err)
			require.Equal(t, 1, n)
		}
		assert.EqualValues(t, 7, w.read(TypeMessageAck).ID)
		assert.Equal(t, "world", string(w.read(TypeStream).Raw))
		assert.Equal(t, os.ErrNoDeadline, w.tr.SetDeadline(time.Time{}))
		assert.Equal(t, os.ErrNoDeadline, w.tr.SetReadDeadline(time.Time{}))
		assert.Equal(t, os.ErrNoDeadline, w.tr.SetWriteDeadline(time.Time{}))
		assert.Equal(t, w.peer.RemoteAddr(), w.tr.LocalAddr())
		assert.Equal(t, w.peer.LocalAddr(), w.tr.RemoteAddr())
		assert.Nil(t, w.tr.NetConn())
	})
}

func TestTransportKeepsTime(t *testing.T) {
	overPipe(t, geminio.InitiatorSide, nil, func(t *testing.T, w *wire) {
		start := time.Now()
		for range 3 {
			w.write(Append(nil, Packet{Type: TypeHeartbeatAck, ID: w.read(TypeHeartbeat).ID}))
		}
		assert.Equal(t, 3*testPeriod, time.Since(start))
		go io.Copy(io.Discard, w.peer)
		_, err := w.tr.Read(make([]byte, 1))
		assert.Equal(t, geminio.ErrSilent, err)
		assert.Equal(t, 5*testPeriod, time.Since(start))
	})
}

func TestTransportEnds(t *testing.T) {
	t.Run("in an orderly way", func(t *testing.T) {
		overPipe(t, geminio.RecipientSide, nil, func(t *testing.T, w *wire) {
			w.write(Append(nil, Packet{Type: TypeDisConn, ID: 7}))
			assert.EqualValues(t, 7, w.read(TypeDisConnAck).ID)
			w.write(Append(nil, Packet{Type: TypeDisConnAck, ID: w.read(TypeDisConn).ID}))
			w.frames(packet.TypeClose)
			_, err := w.tr.Read(make([]byte, 1))
			assert.Equal(t, io.EOF, err)
			n, err := w.tr.Write(packet.AppendReason(nil, packet.TypeClose, 0, packet.Reason{}))
			assert.NoError(t, err, "it is thrown away")
			assert.NotZero(t, n)
		})
	})
	t.Run("without a word", func(t *testing.T) {
		overPipe(t, geminio.RecipientSide, nil, func(t *testing.T, w *wire) {
			w.peer.Close()
			_, err := w.tr.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		})
	})
	t.Run("within a packet", func(t *testing.T) {
		overPipe(t, geminio.RecipientSide, nil, func(t *testing.T, w *wire) {
			w.write(Append(nil, Packet{Type: TypeStream, Session: 1, Raw: []byte("hello")})[:HeaderLen+10])
			w.peer.Close()
			assert.Equal(t, "he", string(w.frames(packet.TypeData).data), "what came has come")
			_, err := w.tr.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		})
	})
	t.Run("by Close", func(t *testing.T) {
		overPipe(t, geminio.RecipientSide, nil, func(t *testing.T, w *wire) {
			require.NoError(t, w.tr.Close())
			_, err := w.tr.Read(make([]byte, 1))
			assert.Equal(t, net.ErrClosed, err)
			_, err = w.tr.Write([]byte{1})
			assert.Equal(t, net.ErrClosed, err)
			_, err = w.peer.Read(make([]byte, 1))
			assert.Equal(t, io.EOF, err)
		})
	})
	t.Run("with an error of the rules", func(t *testing.T) {
		overPipe(t, geminio.RecipientSide, nil, func(t *testing.T, w *wire) {
			w.write([]byte("GET / HTTP/1.1\r\n"))
			_, err := w.tr.Read(make([]byte, 1))
			var bad *packet.Error
			assert.ErrorAs(t, err, &bad)
		})
	})
	t.Run("with a mistake of the Conn", func(t *testing.T) {
		overPipe(t, geminio.RecipientSide, nil, func(t *testing.T, w *wire) {
			_, err := w.tr.Write(sendFrame(packet.Header{Type: packet.TypeData, Stream: 1}, make([]byte, 64<<10)...))
			assert.ErrorContains(t, err, "BUG")
			_, err = w.tr.Read(make([]byte, 1))
			assert.ErrorContains(t, err, "BUG")
		})
	})
}

// Large packets are read in pieces, skipped or refused. Memory is allocated as bytes arrive, not
// for the announced length.
func TestTransportSizes(t *testing.T) {
	small := func(c *Config) { c.Offer.MaxMessage, c.Offer.Large, c.Budget = 1<<10, 1<<20, 1<<20 }
	header := func(typ Type, n uint32) []byte { return AppendHeader(nil, Header{Type: typ, ID: 7, Length: n}) }
	session := append(make([]byte, 7), 1)
	for name, announced := range map[string]uint32{
		"raw bytes beyond all limits":        64 << 20,
		"raw bytes beyond an int of 32 bits": 1<<32 - 9,
	} {
		t.Run(name, func(t *testing.T) {
			overPipe(t, geminio.RecipientSide, small, func(t *testing.T, w *wire) {
				const total = 64 << 20
				go func() {
					w.peer.Write(append(header(TypeStream, 8+announced), session...))
					for range total >> 20 {
						w.peer.Write(make([]byte, 1<<20))
					}
				}()
				for got := 0; got < total; {
					e := w.frames(packet.TypeData)
					got += len(e.data)
					w.tr.Write(w.conn.release(e))
				}
			})
		})
	}
	t.Run("a call that is too large", func(t *testing.T) {
		overPipe(t, geminio.RecipientSide, small, func(t *testing.T, w *wire) {
			w.write(append(header(TypeRequest, 1<<20), session...))
			w.write(make([]byte, 1<<20-8))
			p := w.read(TypeResponse)
			assert.EqualValues(t, 7, p.ID)
			assert.Contains(t, p.Error, "too large")
			w.write(append(header(TypeSession, 1<<20), 0, 0, 0, 0, 0, 0, 0, 0, 0, 9))
			w.write(make([]byte, 1<<20-10))
			assert.EqualValues(t, 9, w.read(TypeSessionAck).Negotiate)
		})
	})
	for name, h := range map[string][]byte{
		"a call that is huge":             header(TypeRequest, 1<<32-1),
		"an answer that is too large":     header(TypeRegisterAck, 1<<20),
		"a disconnack that is too large":  header(TypeDisConnAck, 1<<20),
		"a dismiss that is too large":     header(TypeDismiss, 1<<20),
		"a messageack that is too large":  header(TypeMessageAck, 1<<20),
		"a registration that is too huge": header(TypeRegister, 1<<30),
	} {
		t.Run(name, func(t *testing.T) {
			overPipe(t, geminio.RecipientSide, small, func(t *testing.T, w *wire) {
				w.write(h)
				_, err := w.tr.Read(make([]byte, 1))
				assert.ErrorIs(t, err, packet.ErrPacketTooLarge)
			})
		})
	}
	t.Run("a large body in small pieces", func(t *testing.T) {
		overPipe(t, geminio.RecipientSide, nil, func(t *testing.T, w *wire) {
			value := bytes.Repeat([]byte("x"), 300<<10)
			b := Append(nil, Packet{Type: TypeMessage, ID: 7, Session: 1, Content: Content{Value: value}})
			go func() {
				for ; len(b) > 0; b = b[min(len(b), 1000):] {
					w.peer.Write(b[:min(len(b), 1000)])
				}
			}()
			assert.Equal(t, value, w.frames(packet.TypeMessage).msg.Data)
		})
	})
}

// A peer that does not read does not block the Conn: the Conn writes until its credit is used up.
func TestTransportDoesNotBlockTheConn(t *testing.T) {
	overPipe(t, geminio.RecipientSide, nil, func(t *testing.T, w *wire) {
		s := w.conn.streams[1]
		for s.have.take(packet.ClassRaw, 1<<10) {
			_, err := w.tr.Write(sendFrame(packet.Header{Type: packet.TypeData, Stream: 1}, make([]byte, 1<<10)...))
			require.NoError(t, err)
		}
		synctest.Wait()
		w.tr.mu.Lock()
		assert.Zero(t, w.tr.tr.frames.Len(), "no credit comes back")
		w.tr.mu.Unlock()
		w.read(TypeStream)
		for s.have[packet.ClassRaw] == 0 {
			w.read(TypeStream)
			synctest.Wait()
			w.tr.mu.Lock()
			pending := w.tr.tr.frames.Len()
			w.tr.mu.Unlock()
			if pending > 0 {
				w.frames(packet.TypeCredit)
			}
		}
	})
}

// oddConn is a net.Conn whose Writes violate the rules of net.Conn.
type oddConn struct {
	net.Conn
	write func(p []byte) (int, error)
	under net.Conn
}

func (c oddConn) Write(p []byte) (int, error) { return c.write(p) }
func (c oddConn) NetConn() net.Conn           { return c.under }

func TestTransportOverOddConns(t *testing.T) {
	for name, c := range map[string]struct {
		write func(p []byte) (int, error)
		want  error
	}{
		"short writes": {func(p []byte) (int, error) { return len(p) / 2, nil }, io.ErrShortWrite},
		"errors":       {func([]byte) (int, error) { return 0, os.ErrPermission }, os.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				tr := NewTransport(oddConn{near, c.write, near}, Config{
					Side: geminio.RecipientSide, Offer: testOffer(), Budget: testBudget, Silence: time.Hour, Linger: testLinger,
				}, clock.Runtime())
				defer tr.Close()
				assert.Equal(t, near, tr.NetConn())
				_, err := tr.Write(sendFrame(packet.Header{Type: packet.TypeData, Stream: 1}, 1, 2, 3))
				require.NoError(t, err)
				_, err = tr.Read(make([]byte, 1))
				assert.True(t, errors.Is(err, c.want), err)
			})
		})
	}
}
