package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
)

func TestTLS(t *testing.T) {
	cert, key := proc.Certificate(t)
	b, addr := startBroker(t, "-cert", cert, "-key", key)
	produce(t, addr, numbers(1, 100), "-async", "10", "-ca", cert)
	code, said := ended(startConsumer(t, addr, "g", "-count", "100", "-ca", cert))
	assert.Zero(t, code)
	assert.Equal(t, numbers(1, 100)+"consumed 100 messages\n", said)

	code, said = ended(startProducer(t, addr, ""))
	assert.Equal(t, 1, code, "without TLS: %s", said)
	code, said = ended(startProducer(t, addr, "", "-tls"))
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "certificate")
	stop(t, b)
}

func TestToken(t *testing.T) {
	right, wrong := proc.TokenFile(t, "correct horse"), proc.TokenFile(t, "battery staple")
	b, addr := startBroker(t, "-token-file", right, "-group", "t/g")
	produce(t, addr, numbers(1, 3), "-token-file", right)
	commands := []string{"produce -topic t", "consume -topic t", "stats", "drop -topic t -group g"}
	for _, command := range commands {
		for _, flags := range [][]string{{}, {"-token-file", wrong}} {
			args := append(append(strings.Fields(command), "-connect", addr), flags...)
			code, said := proc.Run(t, binary, args...)
			assert.Equal(t, 1, code, "%v", args)
			assert.Contains(t, said, "connecting to "+addr+": the server wants another token", "%v", args)
		}
	}
	t.Setenv(tokenVariable, "correct horse")
	assert.EqualValues(t, 3, statsOf(t, addr).Messages)
	stop(t, b)
}

// Each client has a token of its own, which is valid for its own name only.
func TestTokenOfEach(t *testing.T) {
	table := proc.SecretFile(t, "shop = \"token of the shop\"\nmail = \"token of the mail\"\n")
	b, addr := startBroker(t, "-tokens", table, "-group", "t/g", "-v", "info")
	shop := proc.TokenFile(t, "token of the shop")
	produce(t, addr, numbers(1, 3), "-name", "shop", "-token-file", shop)
	for _, name := range []string{"mail", "other", "Shop"} {
		code, said := ended(startProducer(t, addr, "", "-name", name, "-token-file", shop))
		assert.Equal(t, 1, code, name)
		assert.Contains(t, said, "the server wants another token")
		b.Expect(`level=(WARN|INFO) msg="a client was refused" name=` + name)
	}
	stop(t, b)
}

// A broker restarts with another token. Its clients end instead of retrying.
func TestTokenChanged(t *testing.T) {
	b, addr := startBroker(t)
	proxy := kit.NewProxy(t, addr)
	c := startConsumer(t, proxy.Addr, "g")
	p := proc.Start(t, binary, "produce", "-connect", proxy.Addr, "-topic", "t")
	p.Type("one\n")
	c.Expect("one")
	b.Kill()
	_, addr = startBroker(t, "-token-file", proc.TokenFile(t, "a new one"))
	proxy.SetTarget(addr)
	for _, peer := range []*proc.Process{c, p} {
		assert.Equal(t, 1, peer.Wait(), peer.Output())
		peer.Expect(`the server wants another token`)
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		text string
	}{
		{"-h", 0, "mq broker"},
		{"broker -h", 0, "-max-messages"},
		{"produce -h", 0, "-async"},
		{"consume -h", 0, "-group"},
		{"stats -h", 0, "-json"},
		{"drop -h", 0, "-group"},
		{"", 2, "mq broker"},
		{"fetch", 2, `no command "fetch"`},
		{"broker something", 2, `unexpected argument "something"`},
		{"broker -group t", 2, "is no name for a group"},
		{"broker -max-messages 0", 2, "must be above 0"},
		{"broker -ack-wait 0", 2, "must be above 0"},
		{"broker -nats nats://127.0.0.1:1 -sync", 2, "-data, -sync and -max-store are not for -nats"},
		{"broker -replicas 3", 2, "-replicas goes with -nats"},
		{"broker -listen 127.0.0.1:0 -nats nats://127.0.0.1:1", 1, "the storage at nats://127.0.0.1:1"},
		{"broker -listen 127.0.0.1:0 -data /dev/null", 1, "the storage in /dev/null"},
		{"produce", 2, "which -topic?"},
		{"produce -topic a.b", 2, "is no name for a topic"},
		{"produce -topic t -async -1", 2, "-async is from 0"},
		{"produce -topic t x", 2, `unexpected argument "x"`},
		{"consume -topic t -window 0", 2, "-window is from 1"},
		{"consume -topic t -exec true -o x", 2, "contradict"},
		{"consume -topic t -group _holder", 2, "is no name for a group"},
		{"consume -topic t -connect 127.0.0.1:1", 1, "connecting to 127.0.0.1:1"},
		{"drop -topic t", 2, "is no name for a group"},
	} {
		code, said := proc.Run(t, binary, strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, "mq %s: %s", c.args, said)
		assert.Contains(t, said, c.text, "mq %s", c.args)
	}
}

// The broker refuses invalid requests with an error, and the connection continues.
func TestRefused(t *testing.T) {
	b, addr := startBroker(t)
	long := strings.Repeat("x", maxPayload)
	for _, async := range []string{"0", "10"} {
		in := proc.SecretFile(t, "first\n"+long+"x\n"+strings.Repeat(long, 17)+"\n"+long+"\nlast\n")
		code, said := proc.Run(t, "sh", "-c", `exec "$0" produce -connect "$1" -topic t -async "$2" < "$3"`, binary, addr, async, in)
		assert.Equal(t, 1, code)
		assert.Contains(t, said, "mq produce: line 2: the message has 1048577 bytes: at most 1048576, please\n")
		assert.Contains(t, said, "mq produce: line 3: it has 17825792 bytes: at most 16777216\n")
		assert.Contains(t, said, "acknowledged 3 messages")
		assert.Contains(t, said, "mq produce: 2 lines are too long and were not published\n")
	}
	assert.EqualValues(t, 6, statsOf(t, addr).Messages)
	code, said := proc.Run(t, binary, "stats", "-connect", addr, "nothing")
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "there is no topic nothing")
	stop(t, b)
}

// The table of stats.
func TestStats(t *testing.T) {
	t.Parallel()
	b, addr := startBroker(t, "-group", "t/a", "-max-messages", "50", "-max-bytes", "1000000")
	c := startConsumer(t, addr, "b", "-work", "1h", "-window", "2")
	haveConsumers(t, addr, "b", 1)
	produce(t, addr, numbers(1, 5))
	until(t, addr, "b has 2", func(s topicStats) bool { return s.group("b").InFlight == 2 })
	code, said := proc.Run(t, binary, "stats", "-connect", addr)
	assert.Zero(t, code)
	assert.Regexp(t, `(?m)^TOPIC +MESSAGES +BYTES +WAITING +GROUP +PENDING +IN FLIGHT +REDELIVERED +CONSUMERS
t +5/50 +\d+/1000000 +0 +a +5 +0 +0 +0
 +b +3 +2 +0 +1
$`, said)
	stop(t, b)
	c.Expect("the connection is lost")
	stop(t, c) // the consumer ends although it waits for the broker
}
