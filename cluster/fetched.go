package cluster

import (
	"context"
	"sync"
)

const (
	// maxFetched bounds the bytes of the messages that fetched keeps.
	maxFetched = 16 << 20
	// fetchOverhead is what a message costs besides its data.
	fetchOverhead = 512
)

// fetched are the messages of the store that were read last, so that a node reads a message once for all of
// its clients. All methods are safe for concurrent use.
type fetched struct {
	mu    sync.Mutex
	all   map[fetchKey]*fetch
	order []fetchKey // of the messages in all, the oldest first
	bytes int
}

// fetchKey names the first message of a group whose sequence is higher than after.
type fetchKey struct {
	group string
	after uint64
}

// fetch is a message that was read, or is being read.
type fetch struct {
	done chan struct{} // closed when the fields below are set
	m    *stored
	err  error
}

// clear drops all messages.
func (f *fetched) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all, f.order, f.bytes = make(map[fetchKey]*fetch), nil, 0
}

// get returns a message, which read reads if it is not there. Only one call of read is under way for a key.
func (f *fetched) get(ctx context.Context, key fetchKey, read func(context.Context) (*stored, error)) (*stored, error) {
	f.mu.Lock()
	v := f.all[key]
	if v == nil {
		v = &fetch{done: make(chan struct{})}
		f.all[key] = v
		f.mu.Unlock()
		v.m, v.err = read(ctx)
		close(v.done)
		f.keep(key, v)
		return v.m, v.err
	}
	f.mu.Unlock()
	select {
	case <-v.done:
		return v.m, v.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keep keeps a message, and drops the oldest ones beyond maxFetched. If nothing was read, it drops v, so that
// it is read again.
func (f *fetched) keep(key fetchKey, v *fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all[key] != v { // clear was called
		return
	}
	if v.m == nil {
		delete(f.all, key)
		return
	}
	f.order = append(f.order, key)
	f.bytes += v.m.size + fetchOverhead
	for f.bytes > maxFetched {
		f.bytes -= f.all[f.order[0]].m.size + fetchOverhead
		delete(f.all, f.order[0])
		f.order = f.order[1:]
	}
}
