package main

import (
	"context"
	"fmt"
	"time"

	"github.com/singchia/geminio/test/kit"
)

// paths are the emulated paths, with queues that have no bound, as in a proxy that buffers.
var paths = []kit.Path{
	{Rate: 100e6 / 8, RTT: 20 * time.Millisecond},
	{Rate: 100e6 / 8, RTT: 100 * time.Millisecond},
	{Rate: 100e6 / 8, RTT: 300 * time.Millisecond},
	{Rate: 1000e6 / 8, RTT: 100 * time.Millisecond},
}

// pathSuffix ends the name of a probe that runs another probe over a path.
func pathSuffix(p kit.Path) string {
	return fmt.Sprintf(" over %d Mbit/s, %v", p.Rate*8/1e6, p.RTT)
}

// pathTimes is the time of a measurement over a path, and the time before it, in windows of the
// settings: what a library learns about a path takes some seconds.
const pathTimes = 8

// overPaths returns a probe for each path: calls while one stream fills the connection.
func overPaths() (all []probe) {
	for _, path := range paths {
		all = append(all, probe{"mixed" + pathSuffix(path), func(ctx context.Context, s settings, p *peer) (values, error) {
			if !p.overTCP {
				return nil, errNotOffered
			}
			s.path, s.streams = &path, 1
			s.ahead = pathTimes * s.window
			s.window *= pathTimes
			got, err := mixed(ctx, s, p)
			if err == nil {
				got["share"] = got["bytes"] / float64(path.Rate)
				got["trips"] = got["p50"] / path.RTT.Seconds()
				if got["p50"] == 0 {
					delete(got, "trips") // a raw connection makes no calls meanwhile
				}
			}
			return got, err
		}})
	}
	return all
}

// way is how clients reach a server: over the loopback interface, or over a path.
type way struct {
	address string
	proxy   *kit.LinkProxy // nil: no path
}

// newWay returns the way to the address of a server.
func newWay(svc *service, address string) (*way, error) {
	if svc.path == nil {
		return &way{address: address}, nil
	}
	p, err := kit.NewLinkProxy(kit.NewLink(*svc.path), address)
	if err != nil {
		return nil, err
	}
	return &way{p.Addr, p}, nil
}

func (w *way) close() {
	if w.proxy != nil {
		w.proxy.Close()
	}
}

// pathRows returns the rows of the paths.
func pathRows() (all []row) {
	for _, path := range paths {
		name := "mixed" + pathSuffix(path)
		share, trips := bar{limit: 0.95}, bar{limit: 2}
		if path.RTT == 20*time.Millisecond {
			trips.limit = 2.5
		}
		if path.Rate > 100e6/8 {
			share.limit = 0.9
		}
		all = append(all, row{
			probe: name, metric: "share", work: fmt.Sprintf("path of %d Mbit/s, %v: bulk, one stream", path.Rate*8/1e6, path.RTT), format: plain,
			what: "the share of the path that one stream uses, over an emulated path with a queue without bound, after some seconds",
			bars: []bar{share},
		}, row{
			probe: name, metric: "trips", work: "the same, a call meanwhile, p50", format: plain, less: true,
			what: "the median of a call of 256 B in the direction of the bulk data, in round trips",
			bars: []bar{trips},
		})
	}
	return all
}
