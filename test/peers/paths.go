package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/singchia/geminio/test/kit"
)

// pathTimes is the time of a measurement over a path, and the time before it, in windows of the
// settings: what a library learns about a path takes some seconds.
const pathTimes = 8

// pathRounds is the number of rounds of a probe over a path. The emulation sets the pace, so the
// rounds differ little.
const pathRounds = 2

// mixedPath is a path over which calls are made while one stream fills the connection.
type mixedPath struct {
	kit.Path
	ahead  int     // the time before the measurement, in times of the measurement
	budget int     // the MemoryBudget of geminio; 0: the default
	share  float64 // the bar of the share of the path that the stream uses
	trips  float64 // the bar of the median of a call, in round trips; 0: none
}

// mixedPaths are the emulated paths, with queues that have no bound, as in a proxy that buffers.
var mixedPaths = []mixedPath{
	{Path: kit.Path{Rate: 100e6 / 8, RTT: 20 * time.Millisecond}, ahead: 1, share: 0.95, trips: 2.5},
	{Path: kit.Path{Rate: 100e6 / 8, RTT: 100 * time.Millisecond}, ahead: 1, share: 0.95, trips: 2},
	{Path: kit.Path{Rate: 100e6 / 8, RTT: 300 * time.Millisecond}, ahead: 1, share: 0.95, trips: 2},
	{Path: kit.Path{Rate: 1000e6 / 8, RTT: 100 * time.Millisecond}, ahead: 1, share: 0.9, trips: 2},
	{Path: kit.Path{Rate: 1000e6 / 8, RTT: 300 * time.Millisecond}, ahead: 3, share: 0.85, budget: 1 << 30},
}

// name returns the name of the probe over p.
func (p mixedPath) name() string { return "mixed over " + describePath(p.Path) }

func describePath(p kit.Path) string {
	return fmt.Sprintf("%d Mbit/s, %v", p.Rate*8/1e6, p.RTT)
}

// probe returns the probe over p.
func (p mixedPath) probe() probe {
	return overPath(p.name(), func(ctx context.Context, s settings, to *peer) (values, error) {
		s.link, s.budget, s.streams = s.newLink(p.Path), p.budget, 1
		s.ahead *= time.Duration(p.ahead)
		got, err := mixed(ctx, s, to)
		if err == nil {
			got["share"] = got["bytes"] / float64(p.Rate)
			got["trips"] = got["p50"] / p.RTT.Seconds()
			if got["p50"] == 0 {
				delete(got, "trips") // a raw connection makes no calls meanwhile
			}
		}
		return got, err
	})
}

// rows returns the rows of the probe over p.
func (p mixedPath) rows() []row {
	share := row{
		probe: p.name(), metric: "share", work: "path of " + describePath(p.Path) + ": bulk, one stream", format: plain,
		what: "the share of the path that one stream uses, over an emulated path with a queue without bound, after some seconds",
		bars: []bar{{limit: p.share}},
	}
	if p.budget > 0 {
		share.what += fmt.Sprintf("; geminio has a MemoryBudget of %d MiB", p.budget>>20)
	}
	trips := row{
		probe: p.name(), metric: "trips", work: "the same, a call meanwhile, p50", format: plain, less: true,
		what: "the median of a call of 256 B in the direction of the bulk data, in round trips",
	}
	if p.trips > 0 {
		trips.bars = []bar{{limit: p.trips}}
	} else {
		trips.bars = []bar{{against: bestPeer, shown: true}}
	}
	return []row{share, trips}
}

// overPath returns a probe that run makes for the peers whose connections can have a path. The
// settings of run have the times of pathTimes.
func overPath(name string, run func(context.Context, settings, *peer) (values, error)) probe {
	return probe{name: name, most: pathRounds, run: func(ctx context.Context, s settings, p *peer) (values, error) {
		if !p.overTCP {
			return nil, errNotOffered
		}
		s.window *= pathTimes
		s.ahead = s.window
		return run(ctx, s, p)
	}}
}

// shorten returns the path p with the round trip of the settings.
func (s settings) shorten(p kit.Path) kit.Path {
	p.RTT /= time.Duration(max(s.shorter, 1))
	return p
}

// newLink makes a Link of the path p.
func (s settings) newLink(p kit.Path) *kit.Link { return kit.NewLink(s.shorten(p)) }

// The paths of the other probes.
var (
	shortPath  = kit.Path{Rate: 100e6 / 8, RTT: 20 * time.Millisecond}
	longPath   = kit.Path{Rate: 100e6 / 8, RTT: 300 * time.Millisecond}
	sharedPath = kit.Path{Rate: 1000e6 / 8, RTT: 20 * time.Millisecond}
)

const (
	changedName = "bulk over a path that changes"
	slowName    = "bulk8 with a slow reader"
)

// changed measures one stream over a path that becomes longer. With the standard settings, the
// measurement begins 5 s after the change.
func changed(ctx context.Context, s settings, p *peer) (values, error) {
	link, longer := s.newLink(shortPath), s.shorten(longPath)
	s.link, s.streams = link, 1
	change := time.AfterFunc(s.ahead, func() { link.Set(longer) })
	defer change.Stop()
	s.ahead += s.window * 5 / 4
	got, err := bulk(1, bulkWrite)(ctx, s, p)
	if err == nil {
		got["share"] = got["bytes"] / float64(longPath.Rate)
	}
	return got, err
}

// slow measures streams of which one is read slowly.
func slow(ctx context.Context, s settings, p *peer) (values, error) {
	s.link, s.slowRead = s.newLink(sharedPath), 50*time.Millisecond
	got, err := bulk(0, bulkWrite)(ctx, s, p)
	if err == nil {
		got["share"] = got["bytes"] / float64(sharedPath.Rate)
	}
	return got, err
}

// pathProbes returns the probes over paths.
func pathProbes() (all []probe) {
	for _, p := range mixedPaths {
		all = append(all, p.probe())
	}
	return append(all, overPath(changedName, changed), overPath(slowName, slow), overPath(kernelName, overKernel))
}

// pathRows returns the rows of the paths.
func pathRows() (all []row) {
	for _, p := range mixedPaths {
		all = append(all, p.rows()...)
	}
	return append(all, row{
		probe: changedName, metric: "share", work: "path of 100 Mbit/s that changes from 20 to 300 ms: bulk, one stream", format: plain,
		what: "the share of the path that one stream uses, from 5 s after the change on",
		bars: []bar{{limit: 0.9}},
	}, row{
		probe: slowName, metric: "even", work: "path of " + describePath(sharedPath) + ": 8 streams, one reader slow; slowest of the others to the fastest", format: plain,
		what: "one of 8 streams is read with pauses of 50 ms; of the other seven, the bytes that the slowest has moved, divided by those of the fastest",
		bars: []bar{{limit: 0.8}},
	}, row{
		probe: slowName, metric: "share", work: "the same, all streams", format: plain,
		what: "the share of the path that the streams use together",
		bars: []bar{{against: bestPeer, shown: true}},
	}, row{
		probe: kernelName, metric: "share", work: "kernel's link of 100 Mbit/s, queue of 100 ms: bulk, one stream", format: plain,
		what: "the share of a link between two network namespaces, whose rate and queue are those of a token bucket filter of Linux, with its TCP; needs the rights to make namespaces",
		bars: []bar{{against: rawName, shown: true}, {against: bestPeer, shown: true}},
	}, row{
		probe: kernelName, metric: "p50", work: "the same, a call meanwhile, p50", format: seconds, less: true,
		what: "the median of a call of 256 B in the direction of the bulk data",
		bars: []bar{{against: bestPeer, shown: true}},
	})
}

// way is how a client reaches a server: over the loopback interface, over an emulated path, or
// over a link of the kernel.
type way struct {
	net.Listener // the server's
	dial         func() (net.Conn, error)
	proxy        *kit.LinkProxy // nil: no emulated path
}

// newWay makes a listener and the way to it.
func newWay(svc *service) (*way, error) {
	if svc.wire != nil {
		return svc.wire.way()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &way{Listener: l}
	address := l.Addr().String()
	if svc.link != nil {
		if w.proxy, err = kit.NewLinkProxy(svc.link, address); err != nil {
			l.Close()
			return nil, err
		}
		address = w.proxy.Addr
	}
	w.dial = func() (net.Conn, error) { return net.Dial("tcp", address) }
	return w, nil
}

// Close ends the way and its listener.
func (w *way) Close() error {
	if w.proxy != nil {
		w.proxy.Close()
	}
	return w.Listener.Close()
}
