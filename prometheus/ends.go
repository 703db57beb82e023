package prometheus

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/singchia/geminio"
)

// desc returns a Desc of a metric of snapshots.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// The metrics of snapshots.
var (
	connectionsDesc    = desc("connections", "Connections at this moment.", "side", "state")
	sentBytesDesc      = desc("sent_bytes_total", "Bytes of frames that were sent.", "side")
	receivedBytesDesc  = desc("received_bytes_total", "Bytes of frames that have arrived.", "side")
	sentFramesDesc     = desc("sent_frames_total", "Frames that were sent.", "side")
	receivedFramesDesc = desc("received_frames_total", "Frames that have arrived.", "side")
	unacceptedDesc     = desc("unaccepted_streams", "Streams of the peers that wait for AcceptStream.")
	creditWaitsDesc    = desc("waiting_for_credit", "Calls, messages and answers that wait for credit of the peers.")
	connWaitsDesc      = desc("waiting_for_connection", "Operations of Ends that reconnect, which wait for a connection.")
	replayDesc         = desc("replay_log_bytes", "Sent bytes that are kept to be sent again when a session is resumed.")
	budgetUsedDesc     = desc("memory_budget_used_bytes", "Memory that the peers use of their budgets.")
	budgetRatioDesc    = desc("memory_budget_used_max_ratio", "The largest share of its memory budget that a peer uses.")
	medianTripDesc     = desc("round_trip_median_seconds", "The median of the last round trips of the connections.", "side")
	maxTripDesc        = desc("round_trip_max_seconds", "The longest of the last round trips of the connections.", "side")
)

// describeEnds sends the Descs of the metrics of snapshots.
func describeEnds(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		connectionsDesc, sentBytesDesc, receivedBytesDesc, sentFramesDesc, receivedFramesDesc,
		unacceptedDesc, creditWaitsDesc, connWaitsDesc, replayDesc, budgetUsedDesc, budgetRatioDesc,
		medianTripDesc, maxTripDesc,
	} {
		ch <- d
	}
}

// ends has the Ends that are online or reconnecting.
type ends struct {
	mu    sync.Mutex
	known map[geminio.End]*known
	past  [2]traffic // of the Ends that are not known any more, by side
	swept int        // the number of known Ends after the last sweep

	reportMu sync.Mutex
	reported [2]traffic // the totals that were collected last, by side
}

// known is a known End.
type known struct {
	end         geminio.End // read-only, like side and before
	side        geminio.Side
	before      traffic // the traffic of the End before it was known
	connections int     // guarded by ends.mu; 0: the End reconnects, or has ended
}

// traffic is the traffic of Ends in both directions.
type traffic struct{ sent, received geminio.Traffic }

// trafficOf returns the traffic of an End since its beginning.
func trafficOf(s *geminio.EndSnapshot) traffic { return traffic{s.Sent, s.Received} }

// add adds the traffic o, times a sign.
func (t *traffic) add(o traffic) {
	addTo(&t.sent, o.sent)
	addTo(&t.received, o.received)
}

func addTo(t *geminio.Traffic, o geminio.Traffic) {
	t.Bytes += o.Bytes
	t.Frames += o.Frames
}

// less returns t without the traffic o.
func (t traffic) less(o traffic) traffic {
	return traffic{
		geminio.Traffic{Bytes: t.sent.Bytes - o.sent.Bytes, Frames: t.sent.Frames - o.sent.Frames},
		geminio.Traffic{Bytes: t.received.Bytes - o.received.Bytes, Frames: t.received.Frames - o.received.Frames},
	}
}

// most sets each number of t to that of o if that is larger.
func (t *traffic) most(o traffic) {
	for _, p := range [][2]*uint64{
		{&t.sent.Bytes, &o.sent.Bytes}, {&t.sent.Frames, &o.sent.Frames},
		{&t.received.Bytes, &o.received.Bytes}, {&t.received.Frames, &o.received.Frames},
	} {
		*p[0] = max(*p[0], *p[1])
	}
}

func newEnds() *ends { return &ends{known: make(map[geminio.End]*known)} }

// minSweep is the least number of known Ends for a sweep in begin.
const minSweep = 128

// begin adds a connection.
func (e *ends) begin(end geminio.End, side geminio.Side) {
	s, _ := geminio.SnapshotOf(end)
	e.mu.Lock()
	k := e.known[end]
	if k == nil {
		k = &known{end: end, side: side}
		if s.Connections > 1 {
			k.before = trafficOf(&s)
		}
		e.known[end] = k
	}
	k.connections++
	sweep := len(e.known) >= 2*max(e.swept, minSweep)
	e.mu.Unlock()
	if sweep {
		e.sweep()
	}
}

// end removes a connection.
func (e *ends) end(end geminio.End) {
	s, _ := geminio.SnapshotOf(end)
	e.mu.Lock()
	defer e.mu.Unlock()
	k := e.known[end]
	if k == nil {
		return
	}
	k.connections--
	if s.State != geminio.EndReconnecting {
		e.forget(k, &s)
	}
}

// forget removes an End that has no connection. e.mu is held.
func (e *ends) forget(k *known, s *geminio.EndSnapshot) {
	if k.connections == 0 && e.known[k.end] == k {
		delete(e.known, k.end)
		e.past[index(k.side)].add(trafficOf(s).less(k.before))
	}
}

// index returns the index of a side in arrays.
func index(s geminio.Side) int {
	if s == geminio.InitiatorSide {
		return 0
	}
	return 1
}

// sides are the sides in the order of index.
var sides = [2]geminio.Side{geminio.InitiatorSide, geminio.RecipientSide}

// states is the number of states of an End.
const states = int(geminio.EndClosed) + 1

// sums are the sums over all Ends.
type sums struct {
	connections [2][states]int
	traffic     [2]traffic
	trips       [2][]time.Duration

	unaccepted, creditWaits, connWaits int
	replay, used                       uint64
	ratio                              float64
}

// add adds a snapshot.
func (a *sums) add(k *known, s *geminio.EndSnapshot) {
	side := index(k.side)
	if int(s.State) < states {
		a.connections[side][s.State]++
	}
	a.traffic[side].add(trafficOf(s).less(k.before))
	if s.RoundTrip > 0 {
		a.trips[side] = append(a.trips[side], s.RoundTrip)
	}
	a.unaccepted += s.UnacceptedStreams
	a.creditWaits += s.WaitingForCredit
	a.connWaits += s.WaitingForConnection
	a.replay += s.ReplayLog
	a.used += s.BudgetUsed
	if s.MemoryBudget > 0 {
		a.ratio = max(a.ratio, float64(s.BudgetUsed)/float64(s.MemoryBudget))
	}
}

// sweep forgets the Ends that have ended while they had no connection.
func (e *ends) sweep() {
	var idle []*known
	e.mu.Lock()
	for _, k := range e.known {
		if k.connections == 0 {
			idle = append(idle, k)
		}
	}
	e.mu.Unlock()
	for _, k := range idle {
		if s, _ := geminio.SnapshotOf(k.end); s.State == geminio.EndClosed {
			e.mu.Lock()
			e.forget(k, &s)
			e.mu.Unlock()
		}
	}
	e.mu.Lock()
	e.swept = len(e.known)
	e.mu.Unlock()
}

// sum takes a snapshot of each End, without the lock.
func (e *ends) sum() *sums {
	e.sweep()
	e.mu.Lock()
	all := slices.Collect(maps.Values(e.known))
	a := &sums{traffic: e.past}
	e.mu.Unlock()
	for _, k := range all {
		if s, ok := geminio.SnapshotOf(k.end); ok {
			a.add(k, &s)
		}
	}
	return a
}

// collect sends the metrics.
func (e *ends) collect(ch chan<- prometheus.Metric) {
	a := e.sum()
	// The last bytes of an End may be counted after the end of its connection. A counter must not
	// become smaller when the End is not online any more.
	e.reportMu.Lock()
	for side := range sides {
		e.reported[side].most(a.traffic[side])
		a.traffic[side] = e.reported[side]
	}
	e.reportMu.Unlock()

	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	for i, side := range sides {
		label, t := sideOf(side), &a.traffic[i]
		for state, n := range a.connections[i] {
			send(connectionsDesc, prometheus.GaugeValue, float64(n), label, geminio.EndState(state).String())
		}
		send(sentBytesDesc, prometheus.CounterValue, float64(t.sent.Bytes), label)
		send(receivedBytesDesc, prometheus.CounterValue, float64(t.received.Bytes), label)
		send(sentFramesDesc, prometheus.CounterValue, float64(t.sent.Frames), label)
		send(receivedFramesDesc, prometheus.CounterValue, float64(t.received.Frames), label)
		if trips := a.trips[i]; len(trips) > 0 {
			slices.Sort(trips)
			send(medianTripDesc, prometheus.GaugeValue, trips[len(trips)/2].Seconds(), label)
			send(maxTripDesc, prometheus.GaugeValue, trips[len(trips)-1].Seconds(), label)
		}
	}
	send(unacceptedDesc, prometheus.GaugeValue, float64(a.unaccepted))
	send(creditWaitsDesc, prometheus.GaugeValue, float64(a.creditWaits))
	send(connWaitsDesc, prometheus.GaugeValue, float64(a.connWaits))
	send(replayDesc, prometheus.GaugeValue, float64(a.replay))
	send(budgetUsedDesc, prometheus.GaugeValue, float64(a.used))
	send(budgetRatioDesc, prometheus.GaugeValue, a.ratio)
}
