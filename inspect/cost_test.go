package inspect

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// pagesOf are the pages of the Handler that list everything.
var pagesOf = []string{"", "streams", "calls", "?format=json", "?ends.q=10.0.7.&ends.sort=sent&ends.desc=1"}

// writer is a ResponseWriter that counts bytes.
type writer struct {
	header http.Header
	n      int
}

func (w *writer) Header() http.Header         { return w.header }
func (w *writer) WriteHeader(int)             {}
func (w *writer) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }

// costOf returns the size of a page in bytes, and the bytes that are allocated to make it again.
func costOf(t *testing.T, h *Handler, path string) (size int, allocated float64) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/geminio/"+path, nil)
	run := func() {
		w := writer{header: make(http.Header)}
		h.ServeHTTP(&w, r)
		size = w.n
	}
	run()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run()
	runtime.ReadMemStats(&after)
	return size, float64(after.TotalAlloc - before.TotalAlloc)
}

// A page of 10,000 Ends has the size of its 50 rows. For each End, also one that is not on the page, some
// memory is allocated and can be freed at once.
func TestSizeOfPages(t *testing.T) {
	const few, many = 100, 10000
	for _, path := range pagesOf {
		fewSize, fewBytes := costOf(t, &Handler{Sources: []Source{fakeEnds(few)}}, path)
		manySize, manyBytes := costOf(t, &Handler{Sources: []Source{fakeEnds(many)}}, path)
		each := (manyBytes - fewBytes) / (many - few)
		t.Logf("%q: %d and %d bytes; %.0f bytes are allocated for each further End", path, fewSize, manySize, each)
		assert.Less(t, manySize, 100_000, path)
		assert.Less(t, each, 2000.0, path)
	}
}

// While pages wait for readers that do not read, calls go on, and further pages are made.
func TestSlowReaders(t *testing.T) {
	client, server := geminiotest.Pair(t)
	require.NoError(t, server.Register(t.Context(), "echo", rig.Echo))
	h := &Handler{Sources: []Source{Of(client, server)}}
	release := make(chan struct{})
	var blocked atomic.Int32
	reached := make(chan struct{})
	const readers = 3 * maxPages
	var served []<-chan struct{}
	for i := range readers {
		served = append(served, kit.Start(func() struct{} {
			h.ServeHTTP(&blockedWriter{release, &blocked, reached}, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/geminio/"+pagesOf[i%len(pagesOf)], nil))
			return struct{}{}
		}))
		<-reached
	}
	require.EqualValues(t, readers, blocked.Load())
	for range 100 {
		resp, err := client.Call(context.Background(), "echo", client.NewRequest([]byte("x")))
		require.NoError(t, err)
		require.NoError(t, resp.Error())
	}
	assert.Equal(t, 2, getJSON[Page[End]](t, h, "").All)
	stream, err := client.OpenStream()
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	close(release)
	for _, done := range served {
		kit.Await(t, kit.Forever, "the page", done)
	}
}

// blockedWriter is a ResponseWriter whose Write waits for release.
type blockedWriter struct {
	release chan struct{}
	blocked *atomic.Int32
	reached chan struct{}
}

func (w *blockedWriter) Header() http.Header { return make(http.Header) }
func (w *blockedWriter) WriteHeader(int)     {}
func (w *blockedWriter) Write(p []byte) (int, error) {
	w.blocked.Add(1)
	w.reached <- struct{}{}
	<-w.release
	return len(p), nil
}

// A Handler makes four pages at a time, and refuses further ones.
func TestPagesAtATime(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	h := &Handler{Sources: []Source{SourceFunc(func() iter.Seq[geminio.End] {
		return func(func(geminio.End) bool) {
			entered <- struct{}{}
			<-release
		}
	})}}
	var made []<-chan int
	for range maxPages {
		made = append(made, kit.Start(func() int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/geminio/", nil))
			return w.Code
		}))
		<-entered
	}
	w := get(t, h, "")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	assert.Equal(t, http.StatusOK, get(t, h, "inspect.css").Code)
	close(release)
	for _, done := range made {
		assert.Equal(t, http.StatusOK, kit.Await(t, kit.Forever, "the page", done))
	}
	go func() { <-entered }()
	assert.Equal(t, http.StatusOK, get(t, h, "").Code)
}

// A panic in a Source does not use up one of the pages.
func TestSourcesThatPanic(t *testing.T) {
	fails := true
	h := &Handler{Sources: []Source{SourceFunc(func() iter.Seq[geminio.End] {
		if fails {
			panic("no Ends")
		}
		return func(func(geminio.End) bool) {}
	})}}
	for range 2 * maxPages {
		assert.Panics(t, func() { get(t, h, "") })
	}
	fails = false
	assert.Equal(t, http.StatusOK, get(t, h, "").Code)
}

// Any query gets an answer.
func FuzzQuery(f *testing.F) {
	h := &Handler{Sources: []Source{fakeEnds(20)}, Cluster: clusterOf(20)}
	f.Add("clients", "node=b&clients.only=online&clients.sort=age&clients.after=0.0.0.0.0.")
	f.Add("", "ends.q=x&ends.sort=age&ends.desc=1&ends.after=0.0.0.0.0.")
	f.Add("end", "end=7&calls.only=1s&streams.limit=3&streams.before=zz.1.1.1.1.YQ")
	f.Fuzz(func(t *testing.T, page, query string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/geminio/", nil)
		r.URL.Path += page
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Contains(t, []int{200, 400, 404}, w.Code)
		body, err := io.ReadAll(w.Body)
		require.NoError(t, err)
		require.Less(t, len(body), 1<<20)
	})
}

func BenchmarkPage(b *testing.B) {
	for _, n := range []int{100, 10000} {
		h := &Handler{Sources: []Source{fakeEnds(n)}}
		for _, path := range pagesOf {
			b.Run(fmt.Sprintf("%d Ends/%s", n, path), func(b *testing.B) {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/debug/geminio/"+path, nil)
				b.ReportAllocs()
				for b.Loop() {
					h.ServeHTTP(&writer{header: make(http.Header)}, r)
				}
			})
		}
	}
}
