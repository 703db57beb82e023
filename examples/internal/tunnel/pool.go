package tunnel

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/singchia/geminio"
)

// ErrNobody is returned by Pool.Open if no End came in time.
var ErrNobody = errors.New("not connected")

// How long a member of a Pool is passed over after a failure: restMin after the first one, and
// twice as long after each further one, up to restMax.
const (
	restMin = time.Second
	restMax = 30 * time.Second
)

// Pool has the Ends that were accepted, by name. Several Ends of one name take turns, and a
// connection that one of them fails to carry on is given to the next. An End that has failed
// rests for a while: the others are tried before it. Connections are the only test of an
// End; there are no probes. All methods are safe for concurrent use.
type Pool struct {
	// Failed is called when an End fails that did not rest before; nil: nothing is called.
	Failed func(end geminio.End, err error)
	// Works is called when an End that has failed carries a connection on again; nil:
	// nothing is called.
	Works func(end geminio.End)

	mu      sync.Mutex
	members map[string][]*member
	turn    int
	news    chan struct{} // closed when an End is added; nil if no goroutine waits
}

// member is an End in a Pool. The fields are guarded by the Pool's mutex.
type member struct {
	end   geminio.End
	rest  time.Duration // the length of its last rest; 0: it has not failed since it last worked
	until time.Time     // the end of that rest
}

// Add adds an End.
func (p *Pool) Add(name string, end geminio.End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setLocked(name, append(p.members[name], &member{end: end}))
}

// Replace puts an End in the place of all those of that name.
func (p *Pool) Replace(name string, end geminio.End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setLocked(name, []*member{{end: end}})
}

func (p *Pool) setLocked(name string, members []*member) {
	if p.members == nil {
		p.members = make(map[string][]*member)
	}
	p.members[name] = members
	if p.news != nil {
		close(p.news)
		p.news = nil
	}
}

// Remove removes an End, if it is there.
func (p *Pool) Remove(name string, end geminio.End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := slices.DeleteFunc(p.members[name], func(m *member) bool { return m.end == end })
	if len(left) == 0 {
		delete(p.members, name)
	} else {
		p.members[name] = left
	}
}

// Len returns the number of Ends.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, members := range p.members {
		n += len(members)
	}
	return n
}

// Open opens a stream on one of the Ends of that name. It waits for one to be there until ctx
// ends. Where there are several, each of them has to confirm that it has connected with the
// service, and gets half of the time that is left, as long as there are others to try. The
// error is that of the last one.
func (p *Pool) Open(ctx context.Context, name, service string, o Origin) (Leg, error) {
	var failed []*member
	last := ErrNobody
	for {
		m, rest := p.pick(ctx, name, failed)
		if m == nil {
			return nil, last
		}
		leg, err := p.try(ctx, m, rest, service, o)
		switch {
		case err == nil:
			return leg, nil
		case leaving(err):
			p.Remove(name, m.end)
		case ctx.Err() != nil:
			return nil, err
		default:
			failed, last = append(failed, m), err
		}
	}
}

// others says which members a Pool has beside the one that pick returns.
type others int

const (
	none    others = iota // there is no other member
	tried                 // the other members were tried before
	untried               // there are other members that were not tried
)

// try opens a stream on a member and notes whether that worked.
func (p *Pool) try(ctx context.Context, m *member, rest others, service string, o Origin) (Leg, error) {
	if rest == none {
		return Open(ctx, m.end, service, o)
	}
	o.confirm = true
	attempt, cancel := ctx, context.CancelFunc(func() {})
	if deadline, ok := ctx.Deadline(); ok && rest == untried {
		attempt, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
	}
	defer cancel()
	leg, err := Open(attempt, m.end, service, o)
	if !leaving(err) {
		p.note(m, err)
	}
	return leg, err
}

// leaving reports whether an error of Open says that the End has ended or is about to.
func leaving(err error) bool { return err == io.EOF || errors.Is(err, geminio.ErrGoingAway) }

// pick returns a member that has not failed this connection: the one whose turn it is among those that do not
// rest, else the one whose rest ends first. It waits until ctx ends if there is no
// member at all, and returns nil if no member is left to try.
func (p *Pool) pick(ctx context.Context, name string, failed []*member) (*member, others) {
	for {
		p.mu.Lock()
		if len(p.members[name]) > 0 || len(failed) > 0 {
			defer p.mu.Unlock()
			return p.pickLocked(name, failed)
		}
		if p.news == nil {
			p.news = make(chan struct{})
		}
		news := p.news
		p.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return nil, none
		}
	}
}

// pickLocked does what pick says, without waiting.
func (p *Pool) pickLocked(name string, failed []*member) (*member, others) {
	members := p.members[name]
	p.turn++
	var best *member
	now, left := time.Now(), 0
	for i := range members {
		m := members[(p.turn+i)%len(members)]
		if slices.Contains(failed, m) {
			continue
		}
		left++
		if best == nil || m.until.Before(best.until) && now.Before(best.until) {
			best = m
		}
	}
	switch {
	case left > 1:
		return best, untried
	case len(members) > 1:
		return best, tried
	}
	return best, none
}

// note keeps whether a member has carried a connection on.
func (p *Pool) note(m *member, err error) {
	p.mu.Lock()
	before := m.rest
	if err == nil {
		m.rest, m.until = 0, time.Time{}
	} else {
		m.rest = min(max(restMin, 2*before), restMax)
		m.until = time.Now().Add(m.rest)
	}
	p.mu.Unlock()
	switch {
	case err == nil && before > 0 && p.Works != nil:
		p.Works(m.end)
	case err != nil && before == 0 && p.Failed != nil:
		p.Failed(m.end, err)
	}
}
