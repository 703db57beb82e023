package main

// These tests build the program and run it as processes. This file has their helpers.

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/leak"
)

// binary is the path of the program, built with the build flags of the test; fast is
// always built without the race detector.
var binary, fast string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	built, cleanup, err := proc.Build([]string{"."})
	if err == nil {
		defer cleanup()
		fast, binary = built[0], built[0]
		if flags := proc.RaceFlags(); flags != nil {
			built, cleanup, err = proc.Build([]string{"."}, flags...)
			if err == nil {
				defer cleanup()
				binary = built[0]
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return leak.Run(m)
}

// startBroker starts a broker that stores in a directory of its own, and returns its address.
func startBroker(t *testing.T, flags ...string) (*proc.Process, string) {
	t.Helper()
	return brokerOf(t, binary, append([]string{"-data", t.TempDir()}, flags...)...)
}

// brokerOf starts a broker with these flags.
func brokerOf(t *testing.T, binary string, flags ...string) (*proc.Process, string) {
	t.Helper()
	b := proc.Start(t, binary, append([]string{"broker", "-listen", "127.0.0.1:0"}, flags...)...)
	return b, b.Expect(`listening on (\S+)\n`)[1]
}

// stop ends a process with a signal and expects the exit code 0.
func stop(t *testing.T, p *proc.Process) {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	assert.Zero(t, p.Wait(), "exit code of\n%s", p.Output())
}

// startConsumer starts a consumer of the topic t.
func startConsumer(t *testing.T, addr, group string, flags ...string) *proc.Process {
	t.Helper()
	return proc.Start(t, binary, append([]string{"consume", "-connect", addr, "-topic", "t", "-group", group}, flags...)...)
}

// startProducer starts a producer to the topic t, with these lines.
func startProducer(t *testing.T, addr, lines string, flags ...string) *proc.Process {
	t.Helper()
	p := proc.Start(t, binary, append([]string{"produce", "-connect", addr, "-topic", "t"}, flags...)...)
	p.Type(lines)
	p.CloseInput()
	return p
}

// ended waits for the end of a process, and returns its exit code and output.
func ended(p *proc.Process) (int, string) { return p.Wait(), p.Output() }

// produce publishes lines to the topic t.
func produce(t *testing.T, addr, lines string, flags ...string) {
	t.Helper()
	p := startProducer(t, addr, lines, flags...)
	assert.Zero(t, p.Wait(), "exit code of\n%s", p.Output())
	p.Expect(fmt.Sprintf(`acknowledged %d messages`, strings.Count(lines, "\n")))
}

// numbers returns the lines with the numbers from first to last.
func numbers(first, last int) string {
	var b strings.Builder
	for i := first; i <= last; i++ {
		fmt.Fprintf(&b, "%07d\n", i)
	}
	return b.String()
}

// content returns the content of the files that exist.
func content(t *testing.T, files ...string) string {
	t.Helper()
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// sorted sorts lines.
func sorted(text string) string { return strings.Join(slices.Sorted(strings.Lines(text)), "") }

// once sorts lines and removes repeated ones. It returns the number of repetitions.
func once(text string) (string, int) {
	all := slices.Sorted(strings.Lines(text))
	single := slices.Compact(slices.Clone(all))
	return strings.Join(single, ""), len(all) - len(single)
}

// same fails the test if two texts differ, and prints the position.
func same(t *testing.T, want, got string) {
	t.Helper()
	if want == got {
		return
	}
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			t.Fatalf("%d lines instead of %d; line %d is %.80q instead of %.80q", len(g)-1, len(w)-1, i+1, g[i], w[i])
		}
	}
	t.Fatalf("%d lines instead of %d", len(g)-1, len(w)-1)
}

// statsOf returns the state of the topic t.
func statsOf(t *testing.T, addr string) topicStats {
	t.Helper()
	code, said := proc.Run(t, fast, "stats", "-connect", addr, "-json", "t")
	require.Zero(t, code, said)
	var all []topicStats
	require.NoError(t, json.Unmarshal([]byte(said), &all), said)
	require.Len(t, all, 1, said)
	return all[0]
}

// until waits until the topic t has the wanted state.
func until(t *testing.T, addr, what string, is func(topicStats) bool) topicStats {
	t.Helper()
	deadline := time.Now().Add(proc.Forever)
	for {
		s := statsOf(t, addr)
		if is(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("it never was so that %s; in the end: %+v", what, s)
		}
		time.Sleep(20 * time.Millisecond) // limits the load of the broker
	}
}

// group returns the state of a group.
func (s topicStats) group(name string) groupStats {
	for _, g := range s.Groups {
		if g.Group == name {
			return g
		}
	}
	return groupStats{}
}

// haveConsumers waits until an existing group of the topic t has a number of consumers.
func haveConsumers(t *testing.T, addr, group string, consumers int) {
	t.Helper()
	until(t, addr, fmt.Sprintf("%s has %d consumers", group, consumers), func(s topicStats) bool {
		return s.group(group).Consumers == consumers
	})
}

// consumed waits until the topic t is empty.
func consumed(t *testing.T, addr string) {
	t.Helper()
	until(t, addr, "all is consumed", func(s topicStats) bool { return s.Messages == 0 })
}
