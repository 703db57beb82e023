package conn

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// chunkSink takes a payload in loans of at most n bytes.
type chunkSink struct {
	t    *testing.T
	n    int
	got  []byte
	lent []byte
}

func (s *chunkSink) Space(n int) []byte {
	assert.Nil(s.t, s.lent, "one loan at a time")
	s.lent = make([]byte, min(n, s.n))
	return s.lent
}

func (s *chunkSink) Filled(n int) {
	s.got = append(s.got, s.lent[:n]...)
	s.lent = nil
}

// partsUpper takes each frame in its own way.
type partsUpper struct {
	fakeUpper
	t     *testing.T
	steps []func()
}

func (u *partsUpper) Frame(packet.Header) error {
	require.NotEmpty(u.t, u.steps)
	u.steps[0]()
	u.steps = u.steps[1:]
	return nil
}

// startParts starts a server's Conn over TCP, whose upper layer takes the frames of
// the other side, each by the next step.
func startParts(t *testing.T, steps ...func(c *Conn)) (p *peer, ended <-chan error) {
	near, far := tcpPair(t)
	p = &peer{t, far}
	cfg := testConfig()
	cfg.Heartbeat = time.Hour
	ch := shake(geminio.RecipientSide, near, cfg)
	p.write(helloBytes(t, packet.Conn{Settings: &cfg.Settings}), "hello")
	c := (<-ch).c
	u := &partsUpper{fakeUpper: fakeUpper{c: c}, t: t}
	for _, step := range steps {
		u.steps = append(u.steps, func() { step(c) })
	}
	c.Start(u)
	over := make(chan error, 1)
	go func() {
		c.Run()
		<-c.Done()
		over <- c.Cause()
	}()
	return p, over
}

func awaitCause(t *testing.T, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-time.After(10 * time.Second):
		require.Fail(t, "the connection has not ended")
		return nil
	}
}

// Payloads may be peeked at, skipped, taken in pieces or left alone.
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
		func(*Conn) {}, // leave it alone
		toSink(5000),
		toSink(1<<20),
	)
	go io.Copy(io.Discard, p.nc)
	for range 4 {
		p.write(dataFrame(payload...), "a frame")
	}
	p.writeClose(packet.Reason{}, "the end")
	assert.Equal(t, io.EOF, awaitCause(t, ended))
}

// The end of a transport is noticed also if it came together with the last frame,
// while the one before was being taken.
func TestEndThatComesWithTheLastFrame(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	p, ended := startParts(t,
		func(*Conn) { close(began); <-goOn },
		func(*Conn) {},
	)
	p.write(dataFrame(1), "first")
	<-began
	p.write(dataFrame(2), "second, and the end")
	require.NoError(t, p.nc.(interface{ CloseWrite() error }).CloseWrite())
	close(goOn)
	assert.Equal(t, io.ErrUnexpectedEOF, awaitCause(t, ended))
}

// Frames that come one by one, with pauses in which the socket is looked at again,
// arrive each.
func TestFramesWithPauses(t *testing.T) {
	got := make(chan struct{})
	step := func(*Conn) { got <- struct{}{} }
	p, ended := startParts(t, step, step, step, step)
	for range 4 {
		p.write(dataFrame(1), "one of four")
		<-got
		time.Sleep(150 * time.Millisecond) // longer than sockets are left alone
	}
	p.writeClose(packet.Reason{}, "the end")
	assert.Equal(t, io.EOF, awaitCause(t, ended))
}

// The goroutine that reads may itself end the connection.
func TestReaderEndsTheConnection(t *testing.T) {
	cause := errors.New("enough")
	p, ended := startParts(t, func(c *Conn) { c.abort(cause) })
	p.write(dataFrame(1), "a frame")
	assert.Equal(t, cause, awaitCause(t, ended))
}
