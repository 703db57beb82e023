package prometheus

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// everything passes one event of each kind to a Collector.
func everything(c *Collector) *fakeEnd {
	end := &fakeEnd{s: geminio.EndSnapshot{
		State: geminio.EndConnected, Connections: 1, RoundTrip: time.Millisecond,
		Sent: geminio.Traffic{Bytes: 10, Frames: 1}, Received: geminio.Traffic{Bytes: 20, Frames: 2},
		UnacceptedStreams: 3, WaitingForCredit: 4, WaitingForConnection: 5, ReplayLog: 6, MemoryBudget: 100, BudgetUsed: 7,
	}}
	s := c.Stats()
	lost := geminio.Outcome{Code: geminio.CodeClosed, Err: errors.New("reset")}
	s.ConnBegin(geminio.ConnEvent{End: end, Side: geminio.RecipientSide})
	other := &fakeEnd{}
	s.ConnBegin(geminio.ConnEvent{End: other, Side: geminio.InitiatorSide})
	s.ConnInterrupted(geminio.ConnEvent{End: end, Side: geminio.RecipientSide, Outcome: lost})
	s.ConnResumed(geminio.ConnEvent{End: end, Side: geminio.RecipientSide})
	s.ConnEnd(geminio.ConnEvent{End: other, Side: geminio.InitiatorSide, Outcome: lost})
	s.HandshakeFailed(geminio.HandshakeEvent{Side: geminio.RecipientSide, Outcome: geminio.Outcome{Code: geminio.CodeVersion, Err: geminio.ErrVersion}})
	for _, d := range []geminio.Direction{geminio.Outgoing, geminio.Incoming} {
		for range 2 {
			s.StreamBegin(geminio.StreamEvent{Direction: d})
			s.CallBegin(geminio.CallEvent{Direction: d})
			s.MessageBegin(geminio.MessageEvent{Direction: d})
		}
		s.StreamEnd(geminio.StreamEvent{Direction: d})
		s.CallEnd(geminio.CallEvent{Direction: d, Method: "greet", Registered: true, Duration: time.Second})
		s.MessageEnd(geminio.MessageEvent{Direction: d, Topic: "news", Duration: time.Second, Outcome: lost})
	}
	s.Stalled(geminio.StallEvent{Credit: geminio.CreditRaw, Duration: 1500 * time.Millisecond})
	return end
}

// The events are counted.
func TestEvents(t *testing.T) {
	c := NewCollector(&Options{Topics: []string{"news"}})
	r := registered(t, c)
	everything(c)
	for _, want := range []struct {
		name, labels string
		value        float64
	}{
		{"geminio_connections_begun_total", "side=server", 1},
		{"geminio_connections_ended_total", "code=closed,side=client", 1},
		{"geminio_connections", "side=server,state=connected", 1},
		{"geminio_connections", "side=client,state=connected", 0},
		{"geminio_interruptions_total", "code=closed,side=server", 1},
		{"geminio_resumes_total", "side=server", 1},
		{"geminio_handshake_failures_total", "code=version,side=server", 1},
		{"geminio_open_streams", "direction=incoming", 1},
		{"geminio_streams_total", "code=ok,direction=outgoing", 1},
		{"geminio_calls_in_flight", "direction=outgoing", 1},
		{"geminio_calls_total", "code=ok,direction=incoming,method=greet", 1},
		{"geminio_call_duration_seconds", "direction=incoming,method=greet", 1},
		{"geminio_messages_in_flight", "direction=incoming", 1},
		{"geminio_messages_total", "code=closed,direction=outgoing,topic=news", 1},
		{"geminio_message_duration_seconds", "direction=outgoing,topic=news", 1},
		{"geminio_credit_stalls_total", "credit=raw", 1},
		{"geminio_credit_stall_seconds_total", "credit=raw", 1.5},
		{"geminio_sent_bytes_total", "side=server", 10},
		{"geminio_received_bytes_total", "side=server", 20},
		{"geminio_sent_frames_total", "side=server", 1},
		{"geminio_received_frames_total", "side=server", 2},
		{"geminio_unaccepted_streams", "", 3},
		{"geminio_waiting_for_credit", "", 4},
		{"geminio_waiting_for_connection", "", 5},
		{"geminio_replay_log_bytes", "", 6},
		{"geminio_memory_budget_used_bytes", "", 7},
		{"geminio_memory_budget_used_max_ratio", "", 0.07},
		{"geminio_round_trip_median_seconds", "side=server", 0.001},
		{"geminio_round_trip_max_seconds", "side=server", 0.001},
	} {
		assert.InDelta(t, want.value, value(t, r, want.name, want.labels), 1e-9, want.name)
	}
}

// The linter of Prometheus finds nothing, and both formats of promhttp can be written.
func TestLint(t *testing.T) {
	c := NewCollector(nil)
	r := registered(t, c)
	everything(c)
	problems, err := testutil.GatherAndLint(r)
	require.NoError(t, err)
	assert.Empty(t, problems)
	assert.Contains(t, scrape(t, r, "text/plain"), "# TYPE geminio_calls_total counter\n")
	assert.Contains(t, scrape(t, r, "application/openmetrics-text; version=1.0.0"), "# TYPE geminio_calls counter\n")
}

// A peer that chooses methods, topics and codes adds no metrics without bound.
func TestHostilePeer(t *testing.T) {
	c := NewCollector(&Options{Topics: []string{"news"}})
	r := registered(t, c)
	s := c.Stats()
	count := func() (n int) {
		for _, f := range gathered(t, r) {
			n += len(f.GetMetric())
		}
		return n
	}
	attack := func(registered bool) {
		for i := range 1000 {
			text := fmt.Sprintf("\xff%d %d", i, rand.Uint64())
			o := geminio.Outcome{Code: geminio.Code(rand.Uint32()), Err: errors.New(text)}
			s.CallEnd(geminio.CallEvent{Direction: geminio.Incoming, Method: text, Registered: registered, Outcome: o})
			s.MessageEnd(geminio.MessageEvent{Direction: geminio.Incoming, Topic: text, Outcome: o})
			s.ConnEnd(geminio.ConnEvent{Outcome: o})
			s.StreamEnd(geminio.StreamEvent{Outcome: o})
			s.HandshakeFailed(geminio.HandshakeEvent{Outcome: o})
		}
	}
	attack(false)
	before := count()
	attack(false)
	attack(false)
	assert.Equal(t, before, count())
	assert.Equal(t, "news", c.topics.label("news", false))

	// Names of this program have a bound too, since it may pass on those of a peer.
	attack(true)
	attack(true)
	assert.LessOrEqual(t, count(), before+maxNames*(1+len(codeNames)))
	scrape(t, r, "text/plain")
}

// With Methods, no other names appear.
func TestMethods(t *testing.T) {
	c := NewCollector(&Options{Methods: []string{"listed"}})
	for method, want := range map[string]string{"listed": "listed", "registered": other} {
		assert.Equal(t, want, c.methods.label(method, true))
	}
	assert.Equal(t, "listed", c.methods.label("listed", false), "a listed method of a hijack")
	assert.Equal(t, other, NewCollector(&Options{Methods: []string{}}).methods.label("m", true))
}

// The codes of applications and the reserved codes have one name.
func TestCodes(t *testing.T) {
	for code, want := range map[geminio.Code]string{
		geminio.CodeOK: "ok", geminio.CodeInvalid: "invalid", geminio.CodeInvalid + 1: "application",
		500: "application", 1000: "application", ^geminio.Code(0): "application",
	} {
		assert.Equal(t, want, codeOf(geminio.Outcome{Code: code}))
	}
	assert.Equal(t, "application", codeOf(geminio.Outcome{Err: errors.New("without a code")}))
	for _, name := range codeNames {
		assert.NotEmpty(t, name)
	}
}

// The traffic counts each byte once, while Ends come, reconnect and go.
func TestTraffic(t *testing.T) {
	c := NewCollector(nil)
	r := registered(t, c)
	s := c.Stats()
	retry := &fakeEnd{s: geminio.EndSnapshot{Connections: 1, State: geminio.EndConnected}}
	event := geminio.ConnEvent{End: retry, Side: geminio.InitiatorSide}
	expect := func(want float64, why string) {
		t.Helper()
		assert.Equal(t, want, value(t, r, "geminio_sent_bytes_total", "side=client"), why)
	}
	sent := func(bytes uint64, state geminio.EndState) {
		retry.set(func(s *geminio.EndSnapshot) { s.Sent.Bytes, s.State = bytes, state })
	}
	s.ConnBegin(event)
	sent(100, geminio.EndConnected)
	expect(100, "online")
	sent(110, geminio.EndReconnecting)
	s.ConnEnd(event)
	expect(110, "reconnecting")
	assert.EqualValues(t, 1, value(t, r, "geminio_connections", "side=client,state=reconnecting"))
	sent(120, geminio.EndConnected)
	s.ConnBegin(event)
	expect(120, "online again")
	sent(130, geminio.EndConnected)
	s.ConnBegin(event) // the next connection begins before the end of the last one is reported
	s.ConnEnd(event)
	expect(130, "replaced")
	sent(140, geminio.EndReconnecting)
	s.ConnEnd(event)
	sent(150, geminio.EndClosed)
	expect(150, "closed while it had no connection")
	assert.Empty(t, c.ends.known)
	expect(150, "forgotten")

	late := &fakeEnd{s: geminio.EndSnapshot{Connections: 3, Sent: geminio.Traffic{Bytes: 1000}}}
	s.ConnBegin(geminio.ConnEvent{End: late, Side: geminio.InitiatorSide})
	expect(150, "what was sent before the End is known does not count")
	late.set(func(s *geminio.EndSnapshot) { s.Sent.Bytes += 50 })
	expect(200, "")
	late.set(func(s *geminio.EndSnapshot) { s.Sent.Bytes -= 10 })
	s.ConnEnd(geminio.ConnEvent{End: late})
	expect(200, "a counter does not become smaller")
}

// Ends that have ended while they reconnected are forgotten without a scrape too.
func TestSweep(t *testing.T) {
	c := NewCollector(nil)
	s := c.Stats()
	for range 100 * minSweep {
		end := &fakeEnd{s: geminio.EndSnapshot{State: geminio.EndReconnecting}}
		s.ConnBegin(geminio.ConnEvent{End: end})
		s.ConnEnd(geminio.ConnEvent{End: end})
		end.set(func(s *geminio.EndSnapshot) { s.State = geminio.EndClosed })
	}
	assert.LessOrEqual(t, len(c.ends.known), 3*minSweep)
}

// Events and scrapes may come at the same time.
func TestConcurrency(t *testing.T) {
	c := NewCollector(nil)
	r := registered(t, c)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				end := everything(c)
				c.Stats().ConnEnd(geminio.ConnEvent{End: end})
			}
		})
	}
	last := 0.0
	for range 20 {
		gathered(t, r)
		if n := c.ends.sum().traffic[1].sent.Bytes; n > 0 {
			got := value(t, r, "geminio_sent_bytes_total", "side=server")
			assert.GreaterOrEqual(t, got, last)
			last = got
		}
	}
	wg.Wait()
	assert.EqualValues(t, 4*50*10, value(t, r, "geminio_sent_bytes_total", "side=server"))
}
