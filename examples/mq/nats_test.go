package main

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
)

// natsServer runs a server with JetStream, until the test ends.
func natsServer(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir,
	})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(proc.Forever))
	return s
}

// Two brokers share a storage. A consumer at one broker gets messages of a producer at
// the other. No message is lost when a broker is killed, or while the storage is not
// available.
func TestNATS(t *testing.T) {
	dir := t.TempDir()
	s := natsServer(t, dir, server.RANDOM_PORT)
	broker := func() (*proc.Process, string) {
		return brokerOf(t, binary, "-nats", s.ClientURL(), "-group", "t/g", "-ack-wait", "3s")
	}
	a, in := broker()
	b, out := broker()
	file := filepath.Join(t.TempDir(), "out")
	proxy := kit.NewProxy(t, in)
	c := startConsumer(t, out, "g", "-o", file)
	p := proc.Start(t, binary, "produce", "-connect", proxy.Addr, "-topic", "t", "-async", "100")
	p.Type(numbers(1, 1000))
	grown(t, 100, file)
	a.Kill()
	proxy.SetTarget(out)
	p.Type(numbers(1001, 2000))
	grown(t, 1100, file)

	port := s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	b.Expect("the connection to the storage is lost")
	p.Type(numbers(2001, 3000))
	natsServer(t, dir, port) // the port was just released
	b.Expect("connected to the storage again")
	p.CloseInput()
	assert.Zero(t, p.Wait(), p.Output())
	consumed(t, out)
	got, again := once(content(t, file))
	same(t, numbers(1, 3000), got)
	t.Logf("%d messages arrived again", again)
	stop(t, c)
	stop(t, b)
}
