package conn

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// chunkSink is a sink of a payload that lends buffers of at most n bytes.
type chunkSink struct {
	t    *testing.T
	n    int
	got  []byte
	lent []byte
}

func (s *chunkSink) Space(n int) []byte {
	assert.Nil(s.t, s.lent, "the buffer that is lent already")
	s.lent = make([]byte, min(n, s.n))
	return s.lent
}

func (s *chunkSink) Received(n int) {
	s.got = append(s.got, s.lent[:n]...)
	s.lent = nil
}

// stepHandler is a FrameHandler with a function for each frame.
type stepHandler struct {
	fakeHandler
	t     *testing.T
	steps []func()
}

func (u *stepHandler) Frame(packet.Header) error {
	require.NotEmpty(u.t, u.steps)
	u.steps[0]()
	u.steps = u.steps[1:]
	return nil
}

// startParts starts a Conn of the server over TCP. Each frame of the peer is handled by the
// next of steps.
func startParts(t *testing.T, steps ...func(c *Conn)) (p *peer, ended <-chan error) {
	near, far := kit.TCPPair(t)
	p = &peer{t, far}
	cfg := testConfig()
	cfg.Heartbeat = time.Hour
	ch := shake(geminio.RecipientSide, near, cfg)
	p.write(helloBytes(t, packet.Conn{Settings: &cfg.Settings}), "hello")
	c := (<-ch).c
	u := &stepHandler{fakeHandler: fakeHandler{c: c}, t: t}
	for _, step := range steps {
		u.steps = append(u.steps, func() { step(c) })
	}
	c.Start(u)
	return p, kit.Start(func() error {
		readAll(c)
		<-c.Done()
		return c.Cause()
	})
}

// A FrameHandler may peek at a payload, skip it, read it in pieces or ignore it.
func TestPartsOfPayloads(t *testing.T) {
	payload := make([]byte, 60_000)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	toSink := func(n int) func(*Conn) {
		return func(c *Conn) {
			sink := &chunkSink{t: t, n: n}
			require.NoError(t, c.ReadPayload(sink))
			assert.True(t, bytes.Equal(payload, sink.got))
		}
	}
	p, ended := startParts(t,
		func(c *Conn) {
			require.Equal(t, len(payload), c.Left())
			got, err := c.Peek(10)
			require.NoError(t, err)
			assert.Equal(t, payload[:10], got)
			c.Skip(8)
			got, err = c.Peek(5)
			require.NoError(t, err)
			assert.Equal(t, payload[8:13], got)
			assert.Equal(t, len(payload)-8, c.Left())
			got, err = c.Payload()
			require.NoError(t, err)
			assert.True(t, bytes.Equal(payload[8:], got))
			assert.True(t, c.Buffered())
		},
		func(*Conn) {}, // ignore the payload
		toSink(5000),
		toSink(1<<20),
	)
	go io.Copy(io.Discard, p.nc)
	for range 4 {
		p.write(dataFrame(payload...), "a frame")
	}
	p.writeClose(packet.Reason{}, "the end")
	assert.Equal(t, io.EOF, kit.Await(t, kit.Forever, "the end of the connection", ended))
}

// The goroutine that reads may end the connection.
func TestReaderEndsTheConnection(t *testing.T) {
	cause := errors.New("enough")
	p, ended := startParts(t, func(c *Conn) { c.abort(cause) })
	p.write(dataFrame(1), "a frame")
	assert.Equal(t, cause, kit.Await(t, kit.Forever, "the end of the connection", ended))
}

func TestUnknownIgnorableFramesAreSkipped(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		for _, h := range []packet.Header{
			{Type: 0x80}, {Type: 0xff, Flags: 0xff, Stream: packet.MaxStreamID}, {Type: 0x93, Stream: 5},
		} {
			for _, size := range []int{0, 1, 5000, 64 << 10} {
				p.write(frameOf(h, make([]byte, size)...), "an ignorable frame of an unknown type")
			}
		}
		p.write(dataFrame(1), "a frame of a known type")
		synctest.Wait()
		assert.Len(t, u.seen().got, 1)
		assert.NoError(t, c.Cause())
	})
}

// testFrames returns the bytes of frames of many sizes, and the frames that the handler must
// get.
func testFrames() (all []byte, want []frame) {
	for i, size := range []int{0, 1, 11, 12, 13, 51, 52, 53, 511, 512, 4095, 4096, 4097, 9000, 65535, 65536} {
		h := packet.Header{Type: packet.TypeData, Stream: uint64(i + 1), Length: uint32(size)}
		payload := bytes.Repeat([]byte{byte(i + 1)}, size)
		all = append(all, frameOf(h, payload...)...)
		want = append(want, frame{h, payload})
	}
	return all, want
}

func assertFrames(t *testing.T, want, got []frame) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		assert.Equal(t, want[i].Header, got[i].Header)
		assert.True(t, bytes.Equal(want[i].payload, got[i].payload), "frame %d", i)
	}
}

func TestFramesInPiecesOfAnySize(t *testing.T) {
	all, want := testFrames()
	for _, size := range []int{1, 2, 3, 7, 13, 64, 65, 1000, 4096, 70000, len(all)} {
		onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
			for b := all; len(b) > 0; b = b[min(size, len(b)):] {
				p.write(b[:min(size, len(b))], "a piece")
			}
			synctest.Wait()
			assertFrames(t, want, u.seen().got)
		})
	}
}

func TestFramesOverTCP(t *testing.T) {
	all, want := testFrames()
	for _, size := range []int{1, 13, 1000, len(all)} {
		near, far := kit.TCPPair(t)
		p := &peer{t, far}
		_, u := startOn(t, geminio.RecipientSide, near, p, testConfig())
		for b := all; len(b) > 0; b = b[min(size, len(b)):] {
			if size == 1 && len(b) < len(all)-20_000 {
				size = 1000 // single bytes take too long for more
			}
			p.write(b[:min(size, len(b))], "a piece")
		}
		p.writeClose(packet.Reason{}, "the end")
		<-u.over
		assertFrames(t, want, u.seen().got)
	}
}

// A panic of the FrameHandler, which is a fault of the library, is passed on at once, although
// the FrameHandler may hold locks that the end of the connection takes.
func TestPanicOfAFrameHandlerIsPassedOn(t *testing.T) {
	near, far := kit.TCPPair(t)
	p := &peer{t, far}
	cfg := testConfig()
	cfg.Heartbeat = time.Hour
	ch := shake(geminio.RecipientSide, near, cfg)
	p.write(helloBytes(t, packet.Conn{Settings: &cfg.Settings}), "hello")
	c := (<-ch).c
	u := &stepHandler{fakeHandler: fakeHandler{c: c}, t: t, steps: []func(){func() {
		c.mu.Lock() // never unlocked
		panic("fault")
	}}}
	c.Start(u)
	p.write(dataFrame(1), "a frame")
	panicked := kit.Start(func() (v any) {
		defer func() { v = recover() }()
		readAll(c)
		return nil
	})
	assert.Equal(t, "fault", kit.Await(t, kit.Forever, "the panic of Run", panicked))
	c.mu.Unlock()
	c.abort(errors.New("the test is over"))
	c.readerEnded()
}
