package memnet

import (
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// arrival reads one byte from c, and returns it with the time that this took.
func arrival(t *testing.T, c *Conn) (byte, time.Duration) {
	t.Helper()
	start := time.Now()
	var b [1]byte
	_, err := io.ReadFull(c, b[:])
	require.NoError(t, err)
	return b[0], time.Since(start)
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink()
		l.SetDelay(time.Second)
		l.Near.Write([]byte{1})
		time.Sleep(time.Second / 4)
		l.Near.Write([]byte{2})
		l.SetDelay(0)
		l.Near.Write([]byte{3})
		l.Near.Close()

		for i, want := range []time.Duration{3 * time.Second / 4, time.Second / 4, 0} {
			b, took := arrival(t, l.Far)
			require.EqualValues(t, i+1, b, "bytes must stay in order")
			require.Equal(t, want, took)
		}
		_, err := l.Far.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	})
}

func TestDelayedClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink()
		l.SetDelay(time.Second)
		l.Near.Close()
		_, err := l.Far.Write([]byte{1})
		require.NoError(t, err, "the peer cannot know of the Close yet")
		start := time.Now()
		_, err = l.Far.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		require.Equal(t, time.Second, time.Since(start))
		_, err = l.Far.Write([]byte{1})
		require.Equal(t, syscall.EPIPE, err)
	})
}

func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink()
		l.Near.Write([]byte{1})
		l.SetHeld(true)
		require.True(t, l.Held())
		b, _ := arrival(t, l.Far)
		require.EqualValues(t, 1, b, "this byte had arrived before")
		l.Near.Write([]byte{2})
		l.Near.Close()
		time.AfterFunc(time.Hour, func() { l.SetHeld(false) })
		_, err := l.Far.Write([]byte{1})
		require.NoError(t, err)
		b, took := arrival(t, l.Far)
		require.EqualValues(t, 2, b)
		require.Equal(t, time.Hour, took)
		_, err = l.Far.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	})
}

func TestHeldBufferIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink()
		l.SetHeld(true)
		l.Far.Close()
		l.Near.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err := l.Near.Write(make([]byte, 2*bufferSize))
		require.Error(t, err)
		require.Equal(t, bufferSize, n, "bytes that a black hole takes")
		l.SetHeld(false)
		_, err = l.Near.Write([]byte{1})
		require.Equal(t, syscall.EPIPE, err)
	})
}

func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		l := NewLink(Addr("near"), Addr("far"), func() { ended++ })
		l.Near.Write([]byte("lost"))
		read := make(chan error, 1)
		go func() {
			_, err := l.Near.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		l.Cut()
		require.Equal(t, syscall.ECONNRESET, <-read)
		for _, c := range []*Conn{l.Near, l.Far} {
			_, err := c.Read(make([]byte, 1))
			require.Equal(t, syscall.ECONNRESET, err)
			_, err = c.Write(make([]byte, 1))
			require.Equal(t, syscall.ECONNRESET, err)
			require.NoError(t, c.Close())
		}
		l.Cut()
		require.Equal(t, 1, ended)
	})
}

func TestCutAfterClose(t *testing.T) {
	ended := 0
	l := NewLink(Addr("near"), Addr("far"), func() { ended++ })
	l.Near.Close()
	require.Zero(t, ended)
	l.Cut()
	require.Equal(t, 1, ended)
	_, err := l.Near.Read(make([]byte, 1))
	require.Equal(t, net.ErrClosed, err)
	_, err = l.Far.Read(make([]byte, 1))
	require.Equal(t, syscall.ECONNRESET, err)
}

func TestCutNear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		l := NewLink(Addr("near"), Addr("far"), func() { ended++ })
		l.CutNear()
		_, err := l.Near.Read(make([]byte, 1))
		require.Equal(t, syscall.ECONNRESET, err)
		l.Near.Close()
		l.SetHeld(false) // has no effect
		l.Far.SetReadDeadline(time.Now().Add(time.Hour))
		_, err = l.Far.Read(make([]byte, 1))
		require.ErrorContains(t, err, "timeout", "the far end must not learn of the cut")
		_, err = l.Far.Write(make([]byte, 1))
		require.NoError(t, err)
		require.Zero(t, ended)
		l.Far.Close()
		require.Equal(t, 1, ended)
	})
}
