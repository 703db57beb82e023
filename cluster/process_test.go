package cluster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// The tests start their own program again, with a role and its settings in the environment. A process
// prints a line when it is ready, and ends when its standard input ends.
const (
	roleVariable     = "GEMINIO_CLUSTER_ROLE"
	settingsVariable = "GEMINIO_CLUSTER_SETTINGS"
)

// roles are the functions of the processes.
var roles = map[string]func(){"node": runNode, "nats": runNATS}

// ready is the line of a process that is ready.
type ready struct{ ID, Addr string }

// settings returns the settings of a process.
func settings[T any]() (v T) {
	if err := json.Unmarshal([]byte(os.Getenv(settingsVariable)), &v); err != nil {
		panic(err)
	}
	return v
}

// serve prints that the process is ready, and waits for the end of the standard input.
func serve(r ready) {
	json.NewEncoder(os.Stdout).Encode(r)
	io.Copy(io.Discard, os.Stdin)
}

// nodeSettings are the settings of a node.
type nodeSettings struct {
	URL   string
	Lease time.Duration
}

// runNode is a node with a listener for clients.
func runNode() {
	s := settings[nodeSettings]()
	nc, err := nats.Connect(s.URL, nats.MaxReconnects(-1))
	must(err)
	n, err := cluster.Join(context.Background(), nc, cluster.Options{Lease: s.Lease, Listen: "127.0.0.1:0"})
	must(err)
	l, err := server.Listen("tcp", "127.0.0.1:0")
	must(err)
	attached := n.Listener(l)
	go func() {
		for {
			if _, err := attached.AcceptEnd(); err != nil {
				return
			}
		}
	}()
	serve(ready{n.ID(), l.Addr().String()})
}

// must ends a process after an error.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// process is a process of a test.
type process struct {
	ready
	cmd *exec.Cmd
}

// start starts a process, and waits until it is ready.
func start(t *testing.T, role string, settings any) *process {
	t.Helper()
	text, err := json.Marshal(settings)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, settingsVariable+"="+string(text))
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd}
	t.Cleanup(func() {
		in.Close()
		p.kill()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	require.NoError(t, err, "the process is ready")
	require.NoError(t, json.Unmarshal(line, &p.ready))
	return p
}

// kill kills a process at once.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// TestAKilledNode kills a node with clients, while another node calls them all the time. The clients
// connect to the other nodes. No call hangs, and each one that succeeds was answered by its client.
func TestAKilledNode(t *testing.T) {
	t.Parallel()
	const clients = 30
	s := natsServer(t, embed.Options{Listen: "127.0.0.1:-1"})
	opt := cluster.Options{Lease: 2 * time.Second}
	b, c := join(t, connect(t, s), opt), join(t, connect(t, s), opt)
	killed := start(t, "node", nodeSettings{s.URL(), opt.Lease})

	entered := make(chan struct{}, 1)
	var target atomic.Pointer[string]
	target.Store(&killed.Addr)
	for id := range uint64(clients) {
		o := client.NewEndOptions()
		o.SetClientID(id + 1)
		o.SetRetryBackoff(time.Millisecond, 50*time.Millisecond)
		o.SetRegisterLocalRPCs(
			&geminio.MethodRPC{Method: "id", RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
				resp.SetData([]byte{byte(id + 1)})
			}},
			&geminio.MethodRPC{Method: "hangs", RPC: func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
				entered <- struct{}{}
				<-ctx.Done()
			}},
		)
		end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) { return net.Dial("tcp", *target.Load()) }, o)
		require.NoError(t, err)
		t.Cleanup(func() { end.Close() })
	}
	for _, h := range []*host{b, c} {
		eventually(t, "all clients are known", func() bool { return h.Stats().Clients == clients })
	}

	hanging := kit.Start(func() error {
		_, err := b.Call(within(t), 1, "hangs", nil)
		return err
	})
	<-entered
	stop := make(chan struct{})
	var calling sync.WaitGroup
	var succeeded atomic.Int64
	for id := range uint64(clients) {
		calling.Go(func() {
			for !isClosed(stop) {
				resp, err := b.Call(within(t), id+1, "id", nil)
				switch {
				case err == nil:
					succeeded.Add(1)
					assert.Equal(t, []byte{byte(id + 1)}, resp.Data)
				default:
					assert.True(t, errors.Is(err, cluster.ErrNodeLost) || errors.Is(err, cluster.ErrClientOffline), "%v", err)
					time.Sleep(time.Millisecond) // the load, and nothing that the test waits for
				}
			}
		})
	}
	eventually(t, "calls succeed", func() bool { return succeeded.Load() > clients })
	moved := []string{b.addr, c.addr}
	target.Store(&moved[0])
	killed.kill()
	err := <-hanging
	assert.ErrorIs(t, err, cluster.ErrNodeLost)
	assert.ErrorIs(t, err, geminio.ErrMaybeExecuted)
	for id := range uint64(clients) {
		settled(t, id+1, b, b, c)
	}
	before := succeeded.Load()
	eventually(t, "calls succeed again", func() bool { return succeeded.Load() > before+clients })
	close(stop)
	calling.Wait()
	assert.Equal(t, 2, c.Stats().Nodes)
	_, err = c.Call(within(t), 1, "id", nil)
	assert.NoError(t, err)
}

// isClosed reports whether a channel is closed.
func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// TestAPartition cuts a node off from NATS and from the other nodes. One of its clients connects to another
// node meanwhile.
func TestAPartition(t *testing.T) {
	t.Parallel()
	s := natsServer(t, embed.Options{Listen: "127.0.0.1:-1"})
	nc, toNATS := connectProxied(t, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listen := l.Addr().String()
	l.Close()
	toNode := kit.NewProxy(t, listen)
	a := join(t, nc, cluster.Options{Lease: time.Second, Listen: listen, Advertise: toNode.Addr})
	b := join(t, connect(t, s), cluster.Options{})
	old := a.dial(7, echo)
	a.dial(8, echo)
	b.dial(9, echo)
	for id, h := range map[uint64]*host{7: a, 8: a, 9: b} {
		settled(t, id, h, a, b)
	}
	near, err := b.OpenStream(within(t), 8)
	require.NoError(t, err)

	for _, p := range []*kit.Proxy{toNATS, toNode} {
		p.SetTarget("")
		p.Cut()
	}
	_, err = io.ReadAll(near)
	assert.Error(t, err, "the stream was lost")
	offline(t, 7, b)
	_, err = b.Call(within(t), 8, "echo", nil)
	assert.Equal(t, cluster.ErrClientOffline, err)
	_, err = a.Call(within(t), 8, "echo", nil)
	assert.NoError(t, err, "local clients continue")
	_, err = a.Call(within(t), 9, "echo", nil)
	assert.ErrorIs(t, err, cluster.ErrNoNATS)
	b.dial(7, echo)
	settled(t, 7, b, b)
	select {
	case <-geminio.Done(old):
		assert.Fail(t, "the node cannot know of the new connection")
	default:
	}

	toNATS.SetTarget(s.Addr())
	toNode.SetTarget(listen)
	<-geminio.Done(old)
	assert.ErrorIs(t, geminio.Cause(old), geminio.ErrReplaced)
	eventually(t, "the node has read the bucket anew", func() bool { return a.Stats().Connected })
	settled(t, 7, b, a, b)
	settled(t, 8, a, a, b)
	settled(t, 9, b, a, b)
	_, err = b.Call(within(t), 8, "echo", make([]byte, 100<<10))
	assert.NoError(t, err)
}
