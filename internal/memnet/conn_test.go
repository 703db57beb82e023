package memnet

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newLink() *Link { return NewLink(Addr("near"), Addr("far"), nil) }

func TestBufferIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink()
		n, err := l.Near.Write(make([]byte, bufferSize))
		require.NoError(t, err, "a Write that fits must not wait for the reader")
		require.Equal(t, bufferSize, n)
		l.Near.SetWriteDeadline(time.Now().Add(time.Second))
		n, err = l.Near.Write([]byte{1})
		require.Equal(t, os.ErrDeadlineExceeded, err)
		require.Zero(t, n)

		l.Near.SetWriteDeadline(time.Time{})
		var sent int
		go func() { sent, err = l.Near.Write(make([]byte, 2*bufferSize)) }()
		got, rerr := io.ReadFull(l.Far, make([]byte, 3*bufferSize))
		synctest.Wait()
		require.NoError(t, rerr)
		require.NoError(t, err)
		require.Equal(t, 2*bufferSize, sent)
		require.Equal(t, 3*bufferSize, got)
	})
}

func TestConcurrentWritesStayWhole(t *testing.T) {
	l := newLink()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { l.Near.Write(bytes.Repeat([]byte{byte(i)}, 2*bufferSize)) })
	}
	p := make([]byte, 2*bufferSize)
	for range 4 {
		_, err := io.ReadFull(l.Far, p)
		require.NoError(t, err)
		require.Equal(t, len(p), bytes.Count(p, p[:1]), "a Write was mixed with another one")
	}
	wg.Wait()
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink()
		blocked := make(chan error, 1)
		go func() {
			_, err := l.Near.Read(make([]byte, 1))
			blocked <- err
		}()
		synctest.Wait()
		l.Near.Write([]byte("last"))
		require.NoError(t, l.Near.Close())
		require.NoError(t, l.Near.Close())
		require.Equal(t, net.ErrClosed, <-blocked)
		_, err := l.Near.Write([]byte{1})
		require.Equal(t, net.ErrClosed, err)
		require.Equal(t, net.ErrClosed, l.Near.SetDeadline(time.Time{}))
		require.Equal(t, net.ErrClosed, l.Near.CloseWrite())

		got, err := io.ReadAll(l.Far)
		require.NoError(t, err)
		require.Equal(t, "last", string(got))
		_, err = l.Far.Write([]byte{1})
		require.Equal(t, syscall.EPIPE, err)
	})
}

func TestCloseWrite(t *testing.T) {
	l := newLink()
	l.Near.Write([]byte("question"))
	require.NoError(t, l.Near.CloseWrite())
	require.NoError(t, l.Near.CloseWrite())
	_, err := l.Near.Write([]byte{1})
	require.Equal(t, net.ErrClosed, err)
	got, err := io.ReadAll(l.Far)
	require.NoError(t, err)
	require.Equal(t, "question", string(got))
	_, err = l.Far.Write([]byte("answer"))
	require.NoError(t, err, "the other direction stays open")
	l.Far.Close()
	got, err = io.ReadAll(l.Near)
	require.NoError(t, err)
	require.Equal(t, "answer", string(got))
}

func TestAddresses(t *testing.T) {
	l := newLink()
	assert.Equal(t, "near", l.Near.LocalAddr().String())
	assert.Equal(t, "far", l.Near.RemoteAddr().String())
	assert.Equal(t, "far", l.Far.LocalAddr().String())
	assert.Equal(t, "near", l.Far.RemoteAddr().String())
	assert.Equal(t, "memory", l.Far.RemoteAddr().Network())
}
