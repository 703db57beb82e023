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

// ErrNotConnected is the error of Pool.Open if no End was added in time.
var ErrNotConnected = errors.New("not connected")

// A Pool skips a member for the time restMin after its first failure, and for twice as long after
// each further failure, up to restMax.
const (
	restMin = time.Second
	restMax = 30 * time.Second
)

// Pool holds accepted Ends by name. Several Ends of one name take turns. If one of them cannot
// connect with the service, the Pool tries the next. An End that has failed rests for a while: the
// Pool tries the others before it. The Pool sends no probes: each connection of a client is a
// test of its End. All methods are safe for concurrent use.
type Pool struct {
	// Failed is called at the first failure of an End since it last worked. Optional.
	Failed func(end geminio.End, err error)
	// Works is called when an End that has failed has connected with the service. Optional.
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

// Replace replaces all Ends of the name by one End.
func (p *Pool) Replace(name string, end geminio.End) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setLocked(name, []*member{{end: end}})
}

// setLocked sets the members of a name and wakes the goroutines that wait. The caller holds p.mu.
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

// Remove removes an End if the Pool has it.
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

// Open opens a stream on one of the Ends of the name. It waits until ctx ends if there is none. If
// there are several, each has to confirm that it has connected with the service. Each gets half of
// the time that is left, except the last one, which gets all of it. The error is that of the last
// End.
func (p *Pool) Open(ctx context.Context, name, service string, o Origin) (Leg, error) {
	var failed []*member
	last := ErrNotConnected
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

// others states which members a Pool has beside the one that pick returns.
type others int

const (
	none    others = iota // there is no other member
	tried                 // the other members were tried before
	untried               // there are other members that were not tried
)

// try opens a stream on a member and records the outcome.
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

// pick returns a member that is not in failed: the next one that does not rest, or the one whose
// rest ends first. If there are no members, pick waits for one until ctx ends. It returns nil if no
// member is left to try.
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

// pickLocked is pick without the wait. The caller holds p.mu.
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

// note records whether a member has connected with the service.
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
