package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// The bytes that were written before Close arrive complete and in order, however slowly the
// peer reads. They are followed by io.EOF.

// large is the data of the large deliveries.
var large = sync.OnceValue(func() []byte { return kit.BytesOf(64<<20, 1) })

// push writes data in pieces of the given size, or at once if the size is 0, and closes.
func push(s io.WriteCloser, data []byte, piece int) error {
	if piece == 0 {
		piece = len(data)
	}
	for len(data) > 0 {
		n := min(piece, len(data))
		if k, err := s.Write(data[:n]); err != nil || k != n {
			return fmt.Errorf("wrote %d of %d bytes: %v", k, n, err)
		}
		data = data[n:]
	}
	return s.Close()
}

// expect reads data in pieces of random sizes up to longest, and then io.EOF twice. It yields
// to other goroutines between the pieces.
func expect(r io.Reader, data []byte, longest int) error {
	hash := sha256.New()
	rnd := rand.New(rand.NewPCG(uint64(len(data)), uint64(longest)))
	buf := make([]byte, longest)
	got := 0
	for {
		n, err := r.Read(buf[:1+rnd.IntN(longest)])
		hash.Write(buf[:n])
		got += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", got, len(data), err)
		}
		runtime.Gosched()
	}
	want := sha256.Sum256(data)
	if got != len(data) || !bytes.Equal(hash.Sum(nil), want[:]) {
		return fmt.Errorf("read %d bytes, want %d, or bytes that differ", got, len(data))
	}
	if n, err := r.Read(buf); n != 0 || err != io.EOF {
		return fmt.Errorf("Read after io.EOF = %d, %v, want 0, io.EOF", n, err)
	}
	return nil
}

// all runs functions concurrently and returns the first of their errors.
func all(funcs ...func() error) error {
	errs := make(chan error, len(funcs))
	for _, f := range funcs {
		go func() { errs <- f() }()
	}
	var first error
	for range funcs {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

func TestCloseDeliversToSlowReaders(t *testing.T) {
	for _, network := range kit.Networks("tcp", "unix", "tls", "pipe") {
		t.Run(network, func(t *testing.T) {
			p := rig.NewPair(t, network, nil, nil)
			data := large()[:kit.Amount(network, 64<<20)]
			if network != "tcp" {
				data = data[:len(data)/4]
			}
			a1, a2 := rig.OpenStream(t, p.Client, p.Server)
			b1, b2 := rig.OpenStream(t, p.Server, p.Client)
			require.NoError(t, all(
				func() error { return push(a1, data, 0) },
				func() error { return expect(a2, data, 8<<10) },
				func() error { return push(b1, data, 10_000) },
				func() error { return expect(b2, data, 100<<10) },
			))
		})
	}
}

func TestCloseOfEndDelivers(t *testing.T) {
	for _, network := range kit.Networks("tcp", "unix", "tls", "pipe") {
		for _, byServer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/by server %v", network, byServer), func(t *testing.T) {
				p := rig.NewPair(t, network, nil, nil)
				from, to := p.Client, p.Server
				if byServer {
					from, to = to, from
				}
				data := large()[:kit.Amount(network, 64<<20)]
				if network != "tcp" {
					data = data[:len(data)/8]
				}
				require.NoError(t, all(
					func() error { return push(from, data, 0) },
					func() error { return expect(to, data, 8<<10) },
				))
			})
		}
	}
}

// TestCloseOfEndDeliversAllStreams closes an End whose streams are full. The peer reads after
// the close.
func TestCloseOfEndDeliversAllStreams(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	const streams, size = 100, 16 << 10 // size is that of the first window
	accepted := make([]geminio.Stream, streams)
	for i := range streams {
		s, peer := rig.OpenStream(t, p.Client, p.Server)
		_, err := s.Write(kit.BytesOf(size, uint64(i)))
		require.NoError(t, err)
		accepted[i] = peer
	}
	require.NoError(t, p.Client.Close())
	for i, s := range accepted {
		require.NoError(t, expect(s, kit.BytesOf(size, uint64(i)), 5000))
	}
}

func TestManyStreamsDeliver(t *testing.T) {
	const streams = 1000
	p := rig.NewPair(t, "tcp", nil, nil)
	unit := kit.Amount("tcp", 16<<10)
	size := func(i uint64) int { return unit + int(i*31%7)*unit } // 64 KiB on average
	var work []func() error
	for i := range streams {
		from, to := p.Client, p.Server
		if i%2 == 1 {
			from, to = to, from
		}
		s, peer := rig.OpenStream(t, from, to)
		id := s.StreamID()
		require.Equal(t, id, peer.StreamID())
		data := large()[int(id)*1000:][:size(id)]
		work = append(work,
			func() error { return push(s, data, 1<<10+int(id)%3*(30<<10)) },
			func() error { return expect(peer, data, 20<<10) },
		)
	}
	require.NoError(t, all(work...))
}

// TestLastByte closes right after the last write, again and again.
func TestLastByte(t *testing.T) {
	sizes := []int{1, 2, 100, 1 << 10, 8<<10 - 1, 8 << 10, 16 << 10, 16<<10 + 1, 64 << 10, 100_000, 300_000, 1 << 20}
	for _, network := range kit.Networks("tcp", "pipe") {
		t.Run(network, func(t *testing.T) {
			p := rig.NewPair(t, network, nil, nil)
			for i := range kit.Amount(network, 2000) {
				data := large()[i*100:][:sizes[i%len(sizes)]]
				from, to := p.Client, p.Server
				if i%2 == 1 {
					from, to = to, from
				}
				s, peer := rig.OpenStream(t, from, to)
				written := kit.Start(func() error { return push(s, data, 0) })
				require.NoError(t, expect(peer, data, 1+i*20))
				require.NoError(t, <-written)
				require.NoError(t, peer.Close())
			}
		})
	}
}

// TestLastByteOfEnd is TestLastByte for an End.
func TestLastByteOfEnd(t *testing.T) {
	networks := kit.Networks("tcp", "unix", "tls", "pipe")
	for i := range 60 {
		co, so := client.NewEndOptions(), server.NewEndOptions()
		network := networks[i%len(networks)]
		p := rig.NewPair(t, network, co, so)
		from, to := p.Client, p.Server
		if i%3 == 1 {
			from, to = to, from
		}
		data := large()[i*100:][:1+kit.Amount(network, i*i*200)]
		written := kit.Start(func() error { return push(from, data, 0) })
		require.NoError(t, expect(to, data, 1+i*500))
		require.NoError(t, <-written)
		p.Close()
	}
}

// TestCloseWithConcurrentWrites closes while other goroutines write. The bytes of each Write
// that succeeded arrive, and the reader gets an error if a Write was cut off.
func TestCloseWithConcurrentWrites(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	for round := range 100 {
		s, peer := rig.OpenStream(t, p.Client, p.Server)
		const writers = 4
		counts := make([]int, writers)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for {
					if n, err := s.Write([]byte{byte(w)}); err != nil || n != 1 {
						return
					}
					counts[w]++
				}
			})
		}
		got := make([]int, writers)
		buf := make([]byte, 100)
		closed := false
		for {
			n, err := peer.Read(buf)
			for _, w := range buf[:n] {
				got[w]++
			}
			var cut *geminio.StreamError
			if err == io.EOF || errors.As(err, &cut) && cut.Code == geminio.CodeClosed {
				break
			}
			require.NoError(t, err)
			if !closed && got[0]+got[1]+got[2]+got[3] > round*20 {
				closed = true
				require.NoError(t, s.Close())
			}
		}
		wg.Wait()
		require.Equal(t, counts, got)
	}
}

// TestSmallestWindows sets a memory budget in which a stream has the smallest window.
func TestSmallestWindows(t *testing.T) {
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetMaxMessageSize(1 << 20)
	so.SetMaxMessageSize(1 << 20)
	co.SetMemoryBudget(17 << 20)
	so.SetMemoryBudget(17 << 20)
	p := rig.NewPair(t, "tcp", co, so)
	for i, size := range []int{1 << 10, 4 << 10, 5000, 100_000, kit.Amount("tcp", 4<<20)} {
		for _, piece := range []int{0, 100, 3000} {
			s, peer := rig.OpenStream(t, p.Client, p.Server)
			data := large()[:size]
			require.NoError(t, all(
				func() error { return push(s, data, piece) },
				func() error { return expect(peer, data, 1000*(i+1)) },
			))
		}
	}
}

// TestGrownWindowsLeaveRoom lets the windows of streams grow in both directions. Each side can
// then still open all of the streams that the limit allows.
func TestGrownWindowsLeaveRoom(t *testing.T) {
	const grown, others = 100, 900
	p := rig.NewPair(t, "pipe", nil, nil)
	var work []func() error
	for i := range grown {
		from, to := p.Client, p.Server
		if i%2 == 1 {
			from, to = to, from
		}
		a, b := rig.OpenStream(t, from, to)
		move := func(w io.Writer, r io.Reader) {
			work = append(work,
				func() error { _, err := w.Write(large()[:2<<20]); return err },
				func() error { _, err := io.CopyN(io.Discard, r, 2<<20); return err },
			)
		}
		move(a, b)
		move(b, a)
	}
	require.NoError(t, all(work...))
	for range others {
		rig.OpenStream(t, p.Client, p.Server)
	}
}

// TestByteByByte sends bytes, calls, messages and a shutdown over a transport that delivers one
// byte at a time.
func TestByteByByte(t *testing.T) {
	p := rig.NewPair(t, "bytes", nil, nil)
	go rig.AnswerAll(p.Server)
	mustRegister(t, p.Server, "echo", rig.Echo)
	s, other := rig.OpenStream(t, p.Client, p.Server)
	data := kit.BytesOf(100<<10, 1)
	wrote := kit.Start(func() error {
		if _, err := s.Write(data); err != nil {
			return err
		}
		return s.Close()
	})
	for i := range 50 {
		resp, err := p.Client.Call(kit.Deadline(t), "echo", p.Client.NewRequest(data[:i*200]))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data[:i*200], resp.Data()))
		require.NoError(t, p.Client.Publish(kit.Deadline(t), p.Client.NewMessage(data[:i*200])))
	}
	got, err := io.ReadAll(other)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got), "%d bytes", len(got))
	require.NoError(t, kit.Await(t, kit.Forever, "write", wrote))
	require.NoError(t, other.Close())
	require.NoError(t, geminio.Shutdown(kit.Deadline(t), p.Client))
}
