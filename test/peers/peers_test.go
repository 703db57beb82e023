package main

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// small is the smallest load that shows that everything works.
var small = settings{
	window: 5 * time.Millisecond, callers: 4, streams: 2,
	idle: 2, clients: 4, parked: 3, settle: time.Millisecond, counted: 10, shorter: 20,
}

// absent has the peers that do not support a probe.
var absent = map[string]string{
	"call":     "JetStream",
	"calls":    "raw TCP,JetStream",
	"calls4k":  "raw TCP,JetStream",
	"messages": "raw TCP",
	"bulk":     "minimal echo,minimal calls,grpc stream,nats,JetStream",
	"bulk8":    "minimal echo,minimal calls,grpc stream,nats,JetStream",
	"small":    "minimal echo,minimal calls,grpc stream,nats,JetStream",
	"open":     "raw TCP,minimal echo,minimal calls,grpc stream,nats,JetStream",
	"open64":   "raw TCP,minimal echo,minimal calls,grpc stream,nats,JetStream",
	"mixed":    "minimal echo,minimal calls,grpc stream,nats,JetStream",
	"connect":  "minimal echo,minimal calls,JetStream",
	"clients":  "minimal echo,minimal calls,quic,grpc,grpc stream,nats,JetStream",
	"idle":     "minimal echo,minimal calls",
	"used":     "minimal echo,minimal calls,JetStream",
	"parked":   "raw TCP,minimal echo,minimal calls,grpc stream,nats,JetStream",
}

// Every probe runs with every peer and verifies the payloads.
func TestEverything(t *testing.T) {
	w, err := newWire(wireRate, wireQueue)
	wires := err == nil // whether this machine has links of the kernel
	if wires {
		w.close()
	}
	for _, pr := range probes() {
		t.Run(pr.name, func(t *testing.T) {
			for _, p := range peers() {
				t.Run(p.name, func(t *testing.T) {
					got, err := pr.run(t.Context(), small, p)
					name, secure := strings.CutSuffix(pr.name, tlsSuffix)
					absent := absent[strings.TrimSuffix(name, onOneSuffix)]
					if pr.most == pathRounds {
						absent = "minimal echo,minimal calls,quic,grpc,grpc stream,nats,JetStream"
					}
					if secure {
						absent += ",nats,JetStream"
					}
					if pr.name == slowName {
						absent += ",raw TCP"
					}
					offered := !strings.Contains(","+absent+",", ","+p.name+",") && (pr.name != kernelName || wires)
					if errors.Is(err, errNotOffered) != !offered || offered && err != nil {
						t.Fatalf("offered: %v; the error is %v", offered, err)
					}
					if offered && len(got) == 0 {
						t.Error("nothing was measured")
					}
					for name, v := range got {
						if math.IsNaN(v) || math.IsInf(v, 0) {
							t.Errorf("%s is %v", name, v)
						}
					}
				})
			}
		})
	}
}

// Every row has a probe, and every probe has a row.
func TestRowsAndProbes(t *testing.T) {
	fed := map[string]bool{}
	for _, w := range rows() {
		fed[w.probe] = true
		if len(w.bars) == 0 {
			t.Errorf("%s has no bar", w.work)
		}
	}
	for _, pr := range probes() {
		if !fed[pr.name] {
			t.Errorf("probe %s is in no row", pr.name)
		}
		delete(fed, pr.name)
	}
	for name := range fed {
		t.Errorf("there is no probe %s", name)
	}
}

// The program measures the selected probes and writes the report into the documentation.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, pageName)
	if err := os.WriteFile(name, []byte("before\n"+beginMark+"\nold\n"+endMark+"\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, log strings.Builder
	args := []string{"-rounds", "2", "-time", "5ms", "-only", "^message/(geminio|raw)", "-write", "-docs", dir}
	if code := run(t.Context(), args, &out, &log); code != 0 || out.Len() != 0 {
		t.Fatalf("exit code %d, printed %q, logged %q", code, out.String(), log.String())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?s)^before\n` + beginMark + `.*` + pictureName +
		`.*\| acked messages, one by one \| [^|]*/s \| raw TCP \| [^|]*/s \| [0-9.]+× \| ≥ 0.55× \| (met|\*\*not met\*\*) \|.*` + endMark + `\nafter\n$`)
	if !want.Match(text) || strings.Contains(string(text), "old") {
		t.Errorf("the page is\n%s", text)
	}
	svg, err := os.ReadFile(filepath.Join(dir, pictureName))
	if err != nil {
		t.Fatal(err)
	}
	checkXML(t, string(svg))
	if n := strings.Count(string(svg), `class="title"`); n != 1 {
		t.Errorf("%d panels, want 1:\n%s", n, svg)
	}
}

// A page without a place for the report is an error before the measurement.
func TestWriteNowhere(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, pageName), []byte(endMark+beginMark), 0o644); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	if code := run(t.Context(), []string{"-write", "-docs", dir}, io.Discard, &log); code != 1 || !strings.Contains(log.String(), beginMark) {
		t.Errorf("exit code %d, logged %q", code, log.String())
	}
}

// The exit codes are those that the help states.
func TestFlags(t *testing.T) {
	for flags, want := range map[string]int{"-h": 0, "-rounds=0": 2, "-time=-1s": 2, "-only=(": 2, "-what": 2, "rest": 2} {
		var log strings.Builder
		if code := run(t.Context(), []string{flags}, io.Discard, &log); code != want || log.Len() == 0 {
			t.Errorf("%s: exit code %d, want %d; logged %q", flags, code, want, log.String())
		}
	}
}

// A peer leaves no goroutines that would affect the next peers.
func TestEnds(t *testing.T) {
	for _, p := range peers() {
		t.Run(p.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			if _, err := messages(1)(t.Context(), small, p); err != nil {
				t.Fatal(err)
			}
			now := runtime.NumGoroutine()
			for deadline := time.Now().Add(stuck); now > before && time.Now().Before(deadline); now = runtime.NumGoroutine() {
				time.Sleep(time.Millisecond)
			}
			if now > before {
				stacks := make([]byte, 1<<16)
				t.Errorf("%d goroutines, %d before:\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
			}
		})
	}
}
