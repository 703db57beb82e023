package multiplexer

import "time"

// path measures what the path through the network to the peer can carry. It says how much bulk
// data this side should have under way (holds), and how large the windows should be that this
// side gives (window). It is a plain value that neither locks nor waits, and its clock is an
// argument; Mux.mu guards the path of a Mux.
//
// # Measurement
//
// A path has two properties: the rate of its slowest link and its round trip while nothing
// waits. Their product is the number of bytes that are under way when the link is in full use
// and nothing waits. With less under way, the link is idle at times. Bytes under way beyond that
// wait in front of the slowest link, and everything else, such as a call, waits behind them.
//
// Pings measure both properties. A Ping and its Pong take a round trip, and a Pong says that
// everything that was sent before the Ping has arrived. A Ping is sent after each eighth of what
// may be under way, if that is not too often for the peer, and when credit is given. While bulk
// data waits, a Ping is always under way.
//
// The round trip is the shortest of the last ten to twenty seconds. The rate is the number of
// bytes that arrived during the round trip of a Ping, divided by its time: the largest of the
// last rounds. A sample in which this side had little to send proves only that the path is not
// slower, so it does not replace a larger one.
//
// # Limits
//
// Under way are at most 1.75 times the product. So the link always has work, although Pongs
// come late, and a call takes at most 1.75 round trips. If the rate of the path grows, the
// measured rate follows by a factor of up to 1.75 in each round trip. Calls and messages count
// as under way, but only raw bytes wait. Raw bytes may always use a quarter of the limit, because
// otherwise they would never be sent while messages alone fill the path.
//
// A window is twice the product, for each stream: then the windows do not hold the sender back,
// unless a reader is slow, and the turns of the scheduler decide which stream sends. All
// streams get the same share. The rate is that of all streams together, so the target is the
// same for all windows; a stream that uses less has a smaller window (windowBudget).
//
// Both products have a minimum in time, because the library itself and the kernel take time
// that is not part of the path. If the round trip is shorter than a millisecond, nothing is
// held: the transport is short enough to report that it is full.
//
// # When the path changes
//
// While bulk data is sent, something always waits in front of the slowest link, so no Ping
// takes the shortest time. Therefore every ten seconds a side that holds bulk data lets less
// than the product be under way until a Ping has measured the path. Both sides do so at the
// same times since the beginning of the connection, because the data of the other direction
// makes the round trip longer as well.
//
// If for a whole round trip the Pings take more than twice as long as the shortest one, and
// less arrives than before, the path itself is likely to have changed: if it had not, the rate
// would be the same. Then bulk data waits until almost nothing is under way and a Ping has
// measured the path. If the round trip is longer now, it replaces the shorter one, and otherwise
// the rate of the slow round trips replaces the larger one. A session that continues on another
// transport begins anew.
type path struct {
	sent     uint64 // bytes of all frames that batches contain
	acked    uint64 // bytes of them that have arrived, at the time ackedAt
	raw      uint64 // raw bytes that batches contain, with their headers
	rawAcked uint64 // bytes of them that have arrived
	ackedAt  time.Duration
	received uint64 // bytes of raw data and messages from the peer

	shortest shortest // round trips
	latest   time.Duration
	txRate   largest       // rate at which sent bytes arrive
	rxRate   largest       // rate at which the peer's bytes arrive
	limit    uint64        // what may be under way, bytes; 0: anything
	nextLow  time.Duration // when mode becomes pathLow
	slow     slowness

	round     round
	pings     []pathPing // that are not answered, in order
	mode      pathMode
	requested bool // a Ping is to be sent in the next batch
	lastPing  time.Duration
	pingSent  uint64        // sent at the last Ping
	paced     time.Duration // the time at which all Pings so far would be sent at an interval of pacedPing
}

// pathMode says how much may be under way.
type pathMode uint8

const (
	// pathFull: so much that the path is in full use. begin and nextLow leave it.
	pathFull pathMode = iota
	// pathLow: so little that nothing waits. The first Pong of a Ping that was sent when so
	// little was under way leaves it.
	pathLow
	// pathEmpty: as pathLow, but almost nothing, because the estimates are not known.
	pathEmpty
)

// pathPing is a Ping that is not answered.
type pathPing struct {
	value   uint64
	at      time.Duration
	sent    uint64 // path.sent, path.raw, path.acked and path.ackedAt when it was sent
	raw     uint64
	acked   uint64
	ackedAt time.Duration
	alone   bool // no other Ping was on its way, so path.acked was not recent
	enough  bool // about as much as is allowed was under way
	low     bool // so little as pathLow or pathEmpty allows was under way
}

// round is a time in which the received bytes are counted. It ends with the first Pong of a Ping
// that was sent since its beginning, and then the next one begins: bytes that arrive in bursts
// are counted once.
type round struct {
	begin    time.Duration
	received uint64 // path.received at the beginning
	ping     uint64 // the least value of the Ping that ends it
}

// slowness has the Pings that took unusually long, one after the other.
type slowness struct {
	since    time.Duration // when the first of them was answered; 0: the last one was not slow
	shortest time.Duration
	rate     uint64 // the largest rate at which sent bytes arrived meanwhile
}

const (
	// pathPeriod is the time in which the shortest round trip is measured anew.
	pathPeriod = 10 * time.Second
	// localRTT is the round trip below which nothing is held.
	localRTT = time.Millisecond
	// localPing is the time between two Pings if the round trip is below localRTT.
	localPing = 100 * time.Millisecond
	// leastPing is the least time between two Pings for windows.
	leastPing = 5 * time.Millisecond
	// pacedPing is the least time between two Pings on average, and burstPings the time in
	// which more may be sent. So a second has fewer than the 1000 that the peer accepts, also
	// when packets, which do not wait, send far more than the limit.
	pacedPing  = 1500 * time.Microsecond
	burstPings = 100 * time.Millisecond
	// txSlack and rxSlack are the least times beyond a round trip in the limit and in a
	// window.
	txSlack = 10 * time.Millisecond
	rxSlack = 2 * time.Millisecond
	// firstLimit is the number of bytes that may be under way while nothing is known.
	firstLimit = 1 << 20
	// leastLimit is the least number of bytes that may be under way.
	leastLimit = 64 << 10
	// probeFrom is the number of sent bytes from which this side measures a path of which it
	// knows nothing.
	probeFrom = 64 << 10
	// maxPathPings bounds path.pings. Batches seldom contain a Ping that is not recorded.
	maxPathPings = 64
)

// begin forgets everything, because another path begins at the time now.
func (p *path) begin(now time.Duration) {
	*p = path{sent: p.sent, acked: p.sent, raw: p.raw, rawAcked: p.raw, received: p.received, pings: p.pings[:0], pingSent: p.sent, paced: p.paced}
	p.limit, p.nextLow = firstLimit, now+pathPeriod
	p.round = round{begin: now, received: p.received}
	p.shortest.periodEnd = p.nextLow
}

// send counts n bytes of frames that a batch contains.
func (p *path) send(n int) { p.sent += uint64(n) }

// sendRaw counts n bytes of a turn of raw bytes, which send counts as well.
func (p *path) sendRaw(n int) { p.raw += uint64(n) }

// receive counts n bytes from the peer.
func (p *path) receive(n uint32) { p.received += uint64(n) }

// underWay returns the number of bytes that were sent and of which no Pong says that they have
// arrived.
func (p *path) underWay() uint64 { return p.sent - p.acked }

// holds reports whether bulk data is to wait until more Pongs have arrived, when n more bytes
// are sent. A quarter of the limit is its own, because packets may fill the path all the time.
func (p *path) holds(n int) bool {
	return p.limit > 0 && p.underWay()+uint64(n) >= p.limit && p.raw-p.rawAcked >= p.limit/4
}

// carried returns how many bytes the path carries in d at a rate.
func carried(rate uint64, d time.Duration) uint64 {
	return uint64(float64(rate) * d.Seconds())
}

// window returns the size of a window that does not hold the peer back, or 0 if it is not known.
func (p *path) window() uint64 {
	rtt := p.shortest.get()
	return carried(p.rxRate.get(), max(2*rtt, rtt+rxSlack))
}

// setLimit computes the limit from the estimates.
func (p *path) setLimit() {
	rtt, rate := p.shortest.get(), p.txRate.get()
	switch {
	case rtt < localRTT:
		p.limit = 0
	case p.mode == pathEmpty:
		p.limit = leastLimit
	case rate == 0:
		p.limit = firstLimit
	case p.mode == pathLow:
		p.limit = max(carried(rate, rtt)*3/4, leastLimit)
	default:
		p.limit = max(carried(rate, max(rtt*7/4, rtt+txSlack)), leastLimit)
	}
}

// wantsPing reports whether a Ping is to be sent with the next batch, because credit is given,
// bulk data was sent, or bulk data waits and no Pong is to come. It remembers that.
func (p *path) wantsPing(now time.Duration) bool {
	if p.requested || len(p.pings) == maxPathPings {
		return false
	}
	rtt := p.shortest.get()
	every := max(rtt/8, leastPing)
	if rtt < localRTT {
		every = localPing
	}
	switch {
	case len(p.pings) == 0 && p.holds(0):
		p.requested = true
	case rtt == 0:
		p.requested = len(p.pings) == 0
	case p.mode != pathFull && p.underWay() <= p.limit:
		p.requested = !p.measuresLow()
	case p.limit > 0 && p.sent-p.pingSent >= p.limit/8:
		p.requested = p.paced <= now
	default:
		p.requested = now-p.lastPing >= every
	}
	return p.requested
}

// measuresLow reports whether a Ping is on its way that leaves pathLow or pathEmpty.
func (p *path) measuresLow() bool {
	return len(p.pings) > 0 && p.pings[len(p.pings)-1].low
}

// ping records a Ping that is at the beginning of a batch, in front of the bytes that are
// counted next.
func (p *path) ping(now time.Duration, value uint64) {
	p.requested = false
	p.paced = max(p.paced, now-burstPings) + pacedPing
	if len(p.pings) == maxPathPings {
		return
	}
	p.lastPing, p.pingSent = now, p.sent
	p.pings = append(p.pings, pathPing{
		value: value, at: now, sent: p.sent, raw: p.raw, acked: p.acked, ackedAt: p.ackedAt, alone: len(p.pings) == 0,
		enough: p.limit > 0 && p.mode == pathFull && p.underWay() >= p.limit*3/4,
		low:    p.mode != pathFull && p.underWay() <= p.limit,
	})
}

// pong evaluates the answer to the Ping with a value. The peer may answer the last of several
// Pings only.
func (p *path) pong(now time.Duration, value uint64) {
	n := 0
	for n < len(p.pings) && p.pings[n].value < value {
		n++
	}
	if n == len(p.pings) || p.pings[n].value != value {
		p.pongOther(now, n)
		return
	}
	g := p.pings[n]
	p.pings = append(p.pings[:0], p.pings[n+1:]...)
	p.acked, p.rawAcked, p.ackedAt = g.sent, g.raw, now
	rtt := max(now-g.at, 1)
	p.latest = rtt
	var tx, rx uint64
	if !g.alone {
		tx = perSecond(p.acked-g.acked, now-g.ackedAt)
	}
	if p.round.ping <= value {
		rx = perSecond(p.received-p.round.received, now-p.round.begin)
		p.round = round{now, p.received, value + 1}
	}
	switch {
	case g.low && rtt > p.shortest.get()*3/2:
		// The round trip is longer although little was under way. That explains why less
		// arrived, so the rate stays.
		p.shortest.last, p.shortest.now = rtt, rtt
	case g.low && p.mode == pathEmpty:
		p.txRate = largest{now: p.slow.rate}
	case p.mode == pathFull:
		p.noteSlow(now, rtt, g, tx, rx)
	}
	p.shortest.add(now, rtt)
	p.txRate.add(now, tx, 4*rtt, g.enough && tx > 0)
	p.rxRate.add(now, rx, pathPeriod, true)
	switch {
	case g.low:
		p.mode = pathFull
	case p.mode == pathFull && now >= p.nextLow:
		if p.holds(0) || g.enough {
			p.mode = pathLow
		}
	}
	for now >= p.nextLow {
		p.nextLow += pathPeriod
	}
	p.setLimit()
}

// pongOther evaluates the Pong of a Ping that is not recorded, for example because it was sent
// while the log of a session was full, so that AppendFrames was not called. That Ping may be the
// requested one. The peer need not answer the n recorded Pings before it.
func (p *path) pongOther(now time.Duration, n int) {
	p.requested = false
	if n > 0 {
		g := p.pings[n-1]
		p.acked, p.rawAcked, p.ackedAt = g.sent, g.raw, now
		p.pings = append(p.pings[:0], p.pings[n:]...)
	}
}

// perSecond returns the rate of n bytes in d.
func perSecond(n uint64, d time.Duration) uint64 { return uint64(float64(n) / d.Seconds()) }

// noteSlow has the path measured anew if it is likely to have changed.
func (p *path) noteSlow(now, rtt time.Duration, g pathPing, tx, rx uint64) {
	usual := p.shortest.get()
	// A Pong may say nothing about a rate.
	sends, receives := tx > 0 && g.enough, rx > 0
	less := sends && tx < p.txRate.get()*3/4 || receives && rx < p.rxRate.get()*3/4
	s := &p.slow
	switch {
	case usual == 0 || rtt <= 2*max(usual, txSlack) || (sends || receives) && !less:
		*s = slowness{}
		return
	case s.since == 0:
		if less {
			*s = slowness{now, rtt, tx}
		}
		return
	}
	s.shortest, s.rate = min(s.shortest, rtt), max(s.rate, tx)
	switch {
	case g.at < s.since:
	case g.enough:
		s.since = 0
		p.mode = pathEmpty
	default: // this side receives, and cannot let less be under way
		p.shortest.last, p.shortest.now = s.shortest, s.shortest
		*s = slowness{}
	}
}

// shortest is the shortest duration of the present period and of the one before.
type shortest struct {
	last, now time.Duration // 0: none
	periodEnd time.Duration
}

func (s *shortest) add(now, d time.Duration) {
	if now >= s.periodEnd {
		if s.now > 0 {
			s.last = s.now
		}
		s.now = 0
		for now >= s.periodEnd {
			s.periodEnd += pathPeriod
		}
	}
	if s.now == 0 || d < s.now {
		s.now = d
	}
}

// get returns the shortest duration, or 0 if there is none.
func (s *shortest) get() time.Duration {
	if s.last == 0 || s.now > 0 && s.now < s.last {
		return s.now
	}
	return s.last
}

// largest is the largest rate of the present period and of the one before, in bytes in a second.
type largest struct {
	last, now uint64
	periodEnd time.Duration
}

// add adds a sample. If it counts, a period that has lasted for d ends first.
func (l *largest) add(now time.Duration, rate uint64, d time.Duration, counts bool) {
	if counts && now >= l.periodEnd {
		l.last, l.now, l.periodEnd = l.now, 0, now+d
	}
	l.now = max(l.now, rate)
}

func (l *largest) get() uint64 { return max(l.last, l.now) }
