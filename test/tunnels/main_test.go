package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/singchia/geminio/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// Every row measures something without a tunnel.
func TestRows(t *testing.T) {
	s := httptest.NewServer(handler())
	defer s.Close()
	for _, w := range rows() {
		t.Run(w.name, func(t *testing.T) {
			rate, units, err := w.measure(t.Context(), s.Listener.Addr().String(), 50*time.Millisecond)
			if err != nil || rate < 0 || units <= 0 { // a busy machine may answer nothing within the window
				t.Error(rate, units, err)
			}
		})
	}
}

// A web server that does not answer as it should fails the measurement.
func TestUnexpectedAnswer(t *testing.T) {
	s := httptest.NewServer(nil)
	addr := s.Listener.Addr().String()
	for _, w := range rows() {
		if w.name == "download" { // takes any bytes
			continue
		}
		if _, _, err := w.measure(t.Context(), addr, 50*time.Millisecond); err == nil {
			t.Error(w.name, "has no error though the path is not there")
		}
	}
	s.Close()
	for _, w := range rows() {
		if _, _, err := w.measure(t.Context(), addr, 50*time.Millisecond); err == nil {
			t.Error(w.name, "has no error though the server is not there")
		}
	}
}

func TestReport(t *testing.T) {
	tunnels := []*tunnel{
		{system: system{name: direct}},
		{system: system{name: "relay", ours: true}},
		{system: system{name: "chisel"}},
		{system: system{name: "frp with TLS", tls: true}},
	}
	r := newResults(options{rounds: 3, window: time.Second}, tunnels)
	name := "no keep-alive, 64 at a time"
	for i, speed := range []float64{1, 2, 4} { // the machine's, in each round
		r.add(name, direct, figure{rate: 1000 * speed})
		r.add(name, "relay", figure{rate: 100 * float64(3+i) * speed, cpu: 50e-6})
		r.add(name, "chisel", figure{rate: 500 * speed, cpu: 100e-6})
		r.add(name, "frp with TLS", figure{rate: 5000 * speed, cpu: 100e-6})
	}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{
		"requests/s  of direct  µs of processors per request", "0.40", "relay",
		"missed: relay has 0.80 of chisel\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, out.String())
		}
	}
	if text := out.String(); strings.Count(text, "missed") != 1 || strings.Contains(text, "download") {
		t.Errorf("the report names bars that are met, or rows that were not measured:\n%s", text)
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "0"}, {"-time", "0s"}, {"-row", "("}, {"-system", "("}, {"more"}, {"-nonsense"}} {
		var log bytes.Buffer
		if code := run(context.Background(), args, &log, &log); code != 2 {
			t.Errorf("%q: exit code %d: %s", args, code, log.String())
		}
	}
	var log bytes.Buffer
	if code := run(context.Background(), []string{"-h"}, &log, &log); code != 0 || !strings.Contains(log.String(), "-rounds") {
		t.Error(code, log.String())
	}
}

// Each tunnel is there without TLS and with it, under a name of its own.
func TestSystems(t *testing.T) {
	names := make(map[string]bool)
	for _, s := range systems() {
		names[s.name] = s.tls
	}
	for _, name := range []string{"relay", "traversal", "chisel", "frp"} {
		if tls, ok := names[name]; !ok || tls {
			t.Errorf("%s without TLS is missing", name)
		}
		if !names[name+" with TLS"] {
			t.Errorf("%s with TLS is missing", name)
		}
	}
	if len(names) != 9 {
		t.Error(names)
	}
}
