package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
)

// The broker and the consumers are killed several times with SIGKILL while messages are
// published and consumed. Each message arrives, some of them more than once.
func TestKilled(t *testing.T) {
	const count, rounds = 100_000, 8
	data, dir := t.TempDir(), t.TempDir()
	broker := func() (*proc.Process, string) {
		return brokerOf(t, fast, "-data", data, "-ack-wait", "3s")
	}
	b, addr := broker()
	proxy := kit.NewProxy(t, addr) // the restarted broker has another port

	files := []string{filepath.Join(dir, "0"), filepath.Join(dir, "1")}
	consumer := func(i int) *proc.Process {
		return proc.Start(t, fast, "consume", "-connect", proxy.Addr, "-wait", "-topic", "t", "-window", "256", "-o", files[i])
	}
	consumers := []*proc.Process{consumer(0), consumer(1)}
	p := proc.Start(t, fast, "produce", "-connect", proxy.Addr, "-topic", "t", "-async", "1000")

	for i := range rounds {
		const part = count / rounds
		p.Type(numbers(i*part+1, (i+1)*part)) // the producer still has many of the last messages
		if i%2 == 0 {
			b.Kill()
			t.Logf("killed the broker after %d lines", lineCount(t, files...))
			b, addr = broker()
			proxy.SetTarget(addr)
		} else {
			grown(t, i*part+part/2, files...)
			n := i / 2 % 2
			consumers[n].Kill()
			t.Logf("killed consumer %d after %d lines", n, lineCount(t, files...))
			consumers[n] = consumer(n)
		}
	}
	p.CloseInput()
	assert.Zero(t, p.Wait(), "the producer's exit code")
	p.Expect(fmt.Sprintf(`acknowledged %d messages`, count))
	consumed(t, addr)
	for _, c := range consumers {
		stop(t, c)
	}
	stop(t, b)
	got, again := once(content(t, files...))
	same(t, numbers(1, count), got)
	t.Logf("%d messages arrived again", again)
}

// lineCount returns the number of lines in files, whose lines all have the same length.
func lineCount(t *testing.T, files ...string) int {
	t.Helper()
	var size int64
	for _, file := range files {
		info, err := os.Stat(file)
		if err == nil {
			size += info.Size()
		} else if !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return int(size) / len(numbers(1, 1))
}

// grown waits until there is a number of lines.
func grown(t *testing.T, count int, files ...string) {
	t.Helper()
	require.Eventually(t, func() bool { return lineCount(t, files...) >= count }, proc.Forever, 5*time.Millisecond,
		"there never were %d lines", count)
}

// Acknowledged messages and groups exist after a kill.
func TestBrokerKilledAtRest(t *testing.T) {
	data := t.TempDir()
	b, addr := brokerOf(t, binary, "-data", data, "-group", "t/a", "-sync")
	produce(t, addr, numbers(1, 100), "-async", "100")
	b.Kill()
	b, addr = brokerOf(t, binary, "-data", data)
	s := statsOf(t, addr)
	assert.EqualValues(t, 100, s.group("a").Pending, "%+v", s)
	c := startConsumer(t, addr, "a", "-count", "100")
	assert.Zero(t, c.Wait())
	assert.Equal(t, numbers(1, 100), strings.TrimSuffix(c.Output(), "consumed 100 messages\n"))

	// A directory belongs to one broker.
	code, said := proc.Run(t, binary, "broker", "-listen", "127.0.0.1:0", "-data", data)
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "another broker has it")
	stop(t, b)
}

// A broker is killed while it creates a topic, and the next broker starts. If a topic has
// messages that cannot be read, the broker does not start without them.
func TestBrokerKilledWhileItMakesATopic(t *testing.T) {
	data := t.TempDir()
	b, addr := brokerOf(t, binary, "-data", data)
	produce(t, addr, numbers(1, 10))
	stop(t, b)
	streams := filepath.Join(data, "jetstream", "$G", "streams")
	require.NoError(t, os.MkdirAll(filepath.Join(streams, "MQ_new", "msgs"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(streams, "MQ_other", "msgs"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(streams, "MQ_other", "meta.inf"), []byte("{"), 0o600))
	b, addr = brokerOf(t, binary, "-data", data)
	assert.EqualValues(t, 10, statsOf(t, addr).Messages)
	for _, topic := range []string{"new", "other"} {
		p := proc.Start(t, binary, "produce", "-connect", addr, "-topic", topic)
		p.Type("one\n")
		p.CloseInput()
		assert.Zero(t, p.Wait(), p.Output())
	}
	stop(t, b)

	require.NoError(t, os.WriteFile(filepath.Join(streams, "MQ_t", "meta.inf"), []byte("{"), 0o600))
	code, said := proc.Run(t, binary, "broker", "-listen", "127.0.0.1:0", "-data", data)
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "the topic t cannot be read, and has messages in ")
}

// A broker that gets a signal refuses no client permanently, and ends soon if no
// operation is under way.
func TestBrokerStops(t *testing.T) {
	const rounds, many = 4, 10
	data := t.TempDir()
	var proxy *kit.Proxy
	var consumers []*proc.Process
	for round := range rounds {
		b, addr := brokerOf(t, binary, "-data", data)
		if proxy == nil {
			proxy = kit.NewProxy(t, addr)
			for range many {
				consumers = append(consumers, startConsumer(t, proxy.Addr, "g"))
			}
		}
		proxy.SetTarget(addr)
		produce(t, addr, numbers(round*100+1, round*100+100), "-async", "10")
		haveConsumers(t, addr, "g", many)
		consumed(t, addr)
		stop(t, b)
	}
	var all strings.Builder
	for _, c := range consumers {
		stop(t, c)
		for line := range strings.Lines(c.Output()) {
			if strings.TrimLeft(line, "0123456789") == "\n" {
				all.WriteString(line)
			}
		}
	}
	got, _ := once(all.String())
	same(t, numbers(1, rounds*100), got)
}
