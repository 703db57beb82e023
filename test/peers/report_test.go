package main

import (
	"strings"
	"testing"
	"time"
)

// fixed has figures of a row, one for each round, by peer.
func fixed(w row, figures map[string][]float64) *results {
	r := newResults([]*peer{
		{name: "geminio", role: ours}, {name: rawName, role: reference}, {name: minimalName, role: reference},
		{name: "smux", role: other}, {name: "quic", role: other},
	})
	for name, all := range figures {
		for _, v := range all {
			r.add(w.probe, name, values{w.metric: v})
		}
	}
	return r
}

// find returns a row.
func find(t *testing.T, probe, metric string) row {
	t.Helper()
	for _, w := range rows() {
		if w.probe == probe && w.metric == metric {
			return w
		}
	}
	t.Fatalf("no row %s/%s", probe, metric)
	return row{}
}

func TestJudge(t *testing.T) {
	call, p99 := find(t, "call", "rate"), find(t, "mixed", "p99")
	even, raw := find(t, "bulk8", "even"), find(t, "allocs", "bytes")
	for _, c := range []struct {
		name    string
		row     row
		bar     int
		figures map[string][]float64
		want    verdict
	}{
		{"the ratios of rounds, not of medians", call, 0, map[string][]float64{
			"geminio": {50, 10, 60}, rawName: {100, 10, 50}}, verdict{rawName, 1, true, true}},
		{"too slow", call, 0, map[string][]float64{"geminio": {60}, rawName: {100}}, verdict{rawName, 0.6, true, false}},
		{"the best peer", call, 1, map[string][]float64{
			"geminio": {60}, rawName: {100}, "smux": {30}, "quic": {40}}, verdict{"quic", 1.5, true, true}},
		{"the best peer has least", p99, 0, map[string][]float64{
			"geminio": {2}, "smux": {4}, "quic": {8}}, verdict{"smux", 0.5, true, false}},
		{"the reference failed in a round", call, 0, map[string][]float64{"geminio": {60}}, verdict{against: rawName}},
		{"a limit", even, 0, map[string][]float64{"geminio": {0.95}}, verdict{"", 0.95, true, true}},
		{"none but noise", raw, 0, map[string][]float64{"geminio": {0.001}}, verdict{"", 0.001, true, true}},
		{"one too many", raw, 0, map[string][]float64{"geminio": {1}}, verdict{"", 1, true, false}},
	} {
		if got := fixed(c.row, c.figures).judge(c.row, c.row.bars[c.bar]); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	var out strings.Builder
	r := fixed(find(t, "call", "rate"), map[string][]float64{
		"geminio": {40e3}, rawName: {60e3}, "smux": {37e3}, "quic": {11e3}})
	report(&out, r, conditions{rounds: 1, window: time.Second, when: time.Now()})
	for _, want := range []string{
		"medians of 1 round, 1s for each figure",
		"| calls, one in flight | 40.0k/s | raw TCP | 60.0k/s | 0.67× | ≥ 0.62× | met |",
		"|  |  | smux (best peer) | 37.0k/s | 1.08× | ≥ 1× | met |",
		"|  |  | raw TCP | 60.0k/s | 0.67× | ≥ 0.70× | stretch: not met |",
		"| calls, one in flight | 40.0k/s | 60.0k/s | – | 37.0k/s | 11.0k/s |",
	} {
		if !strings.Contains(out.String(), want+"\n") && !strings.Contains(out.String(), want+".\n") {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

// All kinds of rows can be drawn: with a reference, without one, and with a limit of 0.
func TestPicture(t *testing.T) {
	r := newResults(peers())
	for _, w := range rows() {
		for i, p := range r.peers {
			r.add(w.probe, p.name, values{w.metric: float64(i)})
		}
	}
	var svg strings.Builder
	picture(&svg, r)
	checkXML(t, svg.String())
	if strings.Contains(svg.String(), "NaN") || strings.Contains(svg.String(), "Inf") {
		t.Errorf("not a number in\n%s", &svg)
	}
	if got, want := strings.Count(svg.String(), `class="title"`), len(rows()); got != want {
		t.Errorf("%d panels, want %d", got, want)
	}
}

func TestFormat(t *testing.T) {
	for got, want := range map[string]string{
		rate(0): "0/s", rate(999.4): "999/s", rate(37123): "37.1k/s", rate(1.234e6): "1.23M/s",
		byteRate(2.9e9): "2.90 GB/s", byteRate(999.6e6): "1.00 GB/s",
		seconds(17e-5): "170 µs", seconds(0.0038): "3.80 ms",
		size(1000): "1000 B", size(8 << 10): "8.00 KiB",
		plain(5.003): "5", plain(0.97): "0.97", plain(-0.001): "0",
		cpuPerByte(0.45e-9): "0.450 s",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A failed round is an error and leaves the figures of the other rounds.
func TestFailedRound(t *testing.T) {
	w := find(t, "call", "rate")
	r := fixed(w, map[string][]float64{"geminio": {1, 2}})
	r.add(w.probe, "geminio", nil)
	if got, ok := r.figure(w, "geminio"); !ok || got != 1.5 {
		t.Errorf("the median is %v, %v", got, ok)
	}
}
