package conn

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// The end of the transport is noticed if it arrives with the last frame, while the handler
// reads the frame before.
func TestEndThatComesWithTheLastFrame(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	p, ended := startParts(t,
		func(*Conn) { close(began); <-goOn },
		func(*Conn) {},
	)
	p.write(dataFrame(1), "first")
	<-began
	p.write(dataFrame(2), "the second frame, before the end")
	require.NoError(t, p.nc.(interface{ CloseWrite() error }).CloseWrite())
	close(goOn)
	assert.Equal(t, io.ErrUnexpectedEOF, kit.Await(t, kit.Forever, "the end of the connection", ended))
}

// Frames arrive with pauses after which the socket is polled again. The handler gets each of
// them.
func TestFramesWithPauses(t *testing.T) {
	got := make(chan struct{})
	step := func(*Conn) { got <- struct{}{} }
	p, ended := startParts(t, step, step, step, step)
	for range 4 {
		p.write(dataFrame(1), "one of four")
		<-got
		time.Sleep(150 * time.Millisecond) // longer than the interval between polls
	}
	p.writeClose(packet.Reason{}, "the end")
	assert.Equal(t, io.EOF, kit.Await(t, kit.Forever, "the end of the connection", ended))
}

// When no bytes have arrived for a while, Run returns true. The connection continues with another
// call of Run.
func TestRenewedReader(t *testing.T) {
	near, far := kit.TCPPair(t)
	p := &peer{t, far}
	cfg := testConfig()
	ch := shake(geminio.RecipientSide, near, cfg)
	p.write(helloBytes(t, packet.Conn{Settings: &cfg.Settings}), "hello")
	_, err := kit.ReadConnAck(far)
	require.NoError(t, err)
	c := (<-ch).c
	u := &fakeHandler{c: c}
	c.Start(u)
	run := func() <-chan bool {
		ch := make(chan bool, 1)
		go func() { ch <- c.Run() }()
		return ch
	}
	for n := range 2 {
		ran := run()
		p.write(dataFrame(1), "a frame")
		assert.True(t, kit.Await(t, kit.Forever, "the end of Run", ran))
		assert.Len(t, u.seen().got, n+1)
	}
	ran := run()
	p.writeClose(packet.Reason{}, "the end")
	assert.False(t, kit.Await(t, kit.Forever, "the end of Run", ran))
	<-c.Done()
}
