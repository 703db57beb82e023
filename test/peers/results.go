package main

import "slices"

// noise is the tolerance of a count, since the runtime allocates now and then.
const noise = 0.02

// results are the measured values.
type results struct {
	peers []*peer
	// rounds are the values of each round, by probe and peer; nil for a failed round. A
	// probe that a peer does not support has no rounds.
	rounds map[string]map[string][]values
}

func newResults(peers []*peer) *results {
	return &results{peers: peers, rounds: map[string]map[string][]values{}}
}

// add adds the values of a round.
func (r *results) add(probe, peer string, v values) {
	if r.rounds[probe] == nil {
		r.rounds[probe] = map[string][]values{}
	}
	r.rounds[probe][peer] = append(r.rounds[probe][peer], v)
}

// figure returns the median of a peer in a row.
func (r *results) figure(w row, peer string) (float64, bool) {
	var all []float64
	for _, v := range r.rounds[w.probe][peer] {
		if x, ok := v[w.metric]; ok {
			all = append(all, x)
		}
	}
	return median(all)
}

// ratio returns the median of the ratios of two peers in the same round.
func (r *results) ratio(w row, peer, to string) (float64, bool) {
	var all []float64
	others := r.rounds[w.probe][to]
	for i, v := range r.rounds[w.probe][peer] {
		if i >= len(others) {
			break
		}
		x, ok := v[w.metric]
		y, okay := others[i][w.metric]
		if ok && okay && y != 0 {
			all = append(all, x/y)
		}
	}
	return median(all)
}

func median(all []float64) (float64, bool) {
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	middle := len(all) / 2
	if len(all)%2 == 1 {
		return all[middle], true
	}
	return (all[middle-1] + all[middle]) / 2, true
}

// others returns the names of the other libraries that have a figure in a row and are not
// only shown there, the best first.
func (r *results) others(w row) []string {
	var names []string
	figures := map[string]float64{}
	for _, p := range r.peers {
		if p.role != other || w.shows(p.name) {
			continue
		}
		if v, ok := r.figure(w, p.name); ok {
			names = append(names, p.name)
			figures[p.name] = v
		}
	}
	slices.SortStableFunc(names, func(a, b string) int {
		switch {
		case figures[a] == figures[b]:
			return 0
		case (figures[a] < figures[b]) == w.less:
			return -1
		}
		return 1
	})
	return names
}

// ours returns the name of geminio among the peers.
func (r *results) ours() string {
	for _, p := range r.peers {
		if p.role == ours {
			return p.name
		}
	}
	return ""
}

// verdict is the result of geminio for a bar.
type verdict struct {
	against  string // the name of the peer, also for bestPeer; empty if the bar is absolute
	ratio    float64
	measured bool
	met      bool
}

// judge compares geminio with a bar.
func (r *results) judge(w row, b bar) verdict {
	v := verdict{against: b.against}
	if b.against == bestPeer {
		all := r.others(w)
		if len(all) == 0 {
			return v
		}
		v.against = all[0]
	}
	slack := 0.0
	if b.against == "" {
		v.ratio, v.measured = r.figure(w, r.ours())
		slack = noise
	} else {
		v.ratio, v.measured = r.ratio(w, r.ours(), v.against)
	}
	if w.less {
		v.met = v.measured && v.ratio <= b.limit+slack
	} else {
		v.met = v.measured && v.ratio >= b.limit
	}
	return v
}
