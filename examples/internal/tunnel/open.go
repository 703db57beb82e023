package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// Open opens a stream on an End, or gives up with ctx. An End that reconnects waits
// for its next connection if need be.
func Open(ctx context.Context, end geminio.End, opt *options.OpenStreamOptions) (Leg, error) {
	type result struct {
		stream geminio.Stream
		err    error
	}
	if deadline, ok := ctx.Deadline(); ok {
		opt = options.MergeOpenStreamOptions(opt)
		opt.SetTimeout(max(time.Until(deadline), time.Nanosecond))
	}
	opened := make(chan result, 1)
	go func() { // ctx may end sooner than at its deadline
		s, err := end.OpenStream(opt)
		opened <- result{s, err}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, r.err
		}
		return Stream(r.stream), nil
	case <-ctx.Done():
		go func() {
			if r := <-opened; r.err == nil {
				Stream(r.stream).Abort(ctx.Err())
			}
		}()
		return nil, ctx.Err()
	}
}

// DialTCP dials a TCP address.
func DialTCP(ctx context.Context, addr string) (Leg, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return TCP(c.(*net.TCPConn)), nil
}

// ErrNobody is returned by Pool.Open if no End came in time.
var ErrNobody = errors.New("not connected")

// Pool has the Ends that were accepted, by name. Its zero value is empty. All
// methods are safe for concurrent use.
type Pool struct {
	mu   sync.Mutex
	ends map[string][]geminio.End
	turn int
	news chan struct{} // closed when an End is added; nil if nobody waits
}

// Add adds an End.
func (p *Pool) Add(name string, end geminio.End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(name, append(p.ends[name], end))
}

// Replace puts an End in the place of all those of that name.
func (p *Pool) Replace(name string, end geminio.End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(name, []geminio.End{end})
}

func (p *Pool) set(name string, ends []geminio.End) {
	if p.ends == nil {
		p.ends = make(map[string][]geminio.End)
	}
	p.ends[name] = ends
	if p.news != nil {
		close(p.news)
		p.news = nil
	}
}

// Remove removes an End, if it is there.
func (p *Pool) Remove(name string, end geminio.End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := slices.DeleteFunc(p.ends[name], func(e geminio.End) bool { return e == end })
	if len(left) == 0 {
		delete(p.ends, name)
	} else {
		p.ends[name] = left
	}
}

// Open opens a stream on one of the Ends of that name, which take turns. It waits
// for one to be there until ctx ends.
func (p *Pool) Open(ctx context.Context, name string, opt *options.OpenStreamOptions) (Leg, error) {
	for {
		end := p.pick(ctx, name)
		if end == nil {
			return nil, ErrNobody
		}
		leg, err := Open(ctx, end, opt)
		if err != io.EOF && !errors.Is(err, geminio.ErrGoingAway) {
			return leg, err
		}
		p.Remove(name, end) // it has ended, or is about to
	}
}

// pick returns the End whose turn it is, nil if there is none until ctx ends.
func (p *Pool) pick(ctx context.Context, name string) geminio.End {
	for {
		p.mu.Lock()
		if ends := p.ends[name]; len(ends) > 0 {
			p.turn++
			defer p.mu.Unlock()
			return ends[p.turn%len(ends)]
		}
		if p.news == nil {
			p.news = make(chan struct{})
		}
		news := p.news
		p.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return nil
		}
	}
}
