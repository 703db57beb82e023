package bench

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/rig"
)

// bulkStreams is the number of streams that share a connection in benchmarks with several
// streams.
const bulkStreams = 8

// BenchmarkBulk writes without pause on one stream and on 8, beside one raw connection.
// An operation is a write; bytes count when they are read.
func BenchmarkBulk(b *testing.B) {
	for _, streams := range []int{1, bulkStreams} {
		b.Run(fmt.Sprint(streams), func(b *testing.B) {
			eachPayload(b, func(b *testing.B, size int) { benchmarkFlow(b, streams, size) })
		})
	}
}

// BenchmarkSmallWrites writes 64 bytes at a time on one stream, beside one raw
// connection.
func BenchmarkSmallWrites(b *testing.B) { benchmarkFlow(b, 1, 64) }

func benchmarkFlow(b *testing.B, streams, size int) {
	c, s := ends(b)
	b.SetBytes(int64(size))
	contest{
		raw:   rawFlow(b, 1, size).move,
		ours:  streamFlow(b, c, s, streams, size).move,
		least: 2 * streams,
	}.run(b)
}

// flow moves bytes from writers to readers. One goroutine at a time may use it.
type flow struct {
	writers []io.Writer
	data    []byte       // the bytes of a write
	moved   atomic.Int64 // bytes read
	woken   chan struct{}
	failed  chan error
}

// streamFlow is a flow from c to s on streams of their own.
func streamFlow(tb testing.TB, c, s geminio.End, streams, size int) *flow {
	writers, readers := make([]io.Writer, streams), make([]io.Reader, streams)
	for i := range streams {
		writers[i], readers[i] = rig.OpenStream(tb, c, s)
	}
	return newFlow(writers, readers, size)
}

// rawFlow is a flow on one connection that writers share.
func rawFlow(tb testing.TB, writers, size int) *flow {
	c, s := rawPair(tb)
	all := make([]io.Writer, writers)
	for i := range all {
		all[i] = c
	}
	return newFlow(all, []io.Reader{s}, size)
}

func newFlow(writers []io.Writer, readers []io.Reader, size int) *flow {
	f := &flow{
		writers: writers,
		data:    make([]byte, size),
		woken:   make(chan struct{}, 1),
		failed:  make(chan error, len(readers)),
	}
	for _, r := range readers {
		go f.read(r)
	}
	return f
}

// read counts the bytes of r until its end.
func (f *flow) read(r io.Reader) {
	p := make([]byte, 128<<10)
	for {
		n, err := r.Read(p)
		f.moved.Add(int64(n))
		if err != nil {
			f.failed <- err
			return
		}
		select {
		case f.woken <- struct{}{}:
		default:
		}
	}
}

// move writes n times.
func (f *flow) move(n int) error { return f.fill(times(n)) }

// fill writes as long as more returns true, and returns when everything has been read.
func (f *flow) fill(more func() bool) error {
	before := f.moved.Load()
	var written atomic.Int64
	done := make(chan error, 1)
	go func() {
		done <- together(len(f.writers), more, func(i int) error {
			n, err := f.writers[i].Write(f.data)
			written.Add(int64(n))
			return err
		})
	}()
	for writing := true; writing || f.moved.Load()-before < written.Load(); {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			writing = false
		case err := <-f.failed:
			return err
		case <-f.woken:
		}
	}
	return nil
}
