package cluster_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
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
	"github.com/singchia/geminio/test/kit"
)

// roamer is a client that moves between nodes. One goroutine moves it.
type roamer struct {
	id     uint64
	hosts  []*host
	random *rand.Rand
	done   *ledger

	moves atomic.Uint64 // odd while the client moves
	gen   atomic.Uint64 // the number of the connection that all nodes know; the connections are numbered from 1 on

	at   *host       // where it is
	last uint64      // the number of the last connection
	end  geminio.End // nil if the client has not connected yet

	// Of a client with a retry End.
	target atomic.Pointer[host]
	conn   atomic.Pointer[net.Conn] // the last connection
}

// ledger counts what clients have done with each operation.
type ledger struct {
	mu    sync.Mutex
	times map[uint64]int
}

// add counts an operation, whose number is at the beginning of its data.
func (l *ledger) add(data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times[binary.BigEndian.Uint64(data)]++
}

// options returns the options of a connection, whose number is that of the function.
func (r *roamer) options(number func() uint64) *client.EndOptions {
	opt := client.NewEndOptions()
	opt.SetClientID(r.id)
	opt.SetRetryBackoff(time.Millisecond, 10*time.Millisecond)
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "who", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
		r.done.add(req.Data())
		time.Sleep(rand.N(3 * time.Millisecond)) // so that calls are under way during moves
		resp.SetData(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, r.id), number()))
	}})
	return opt
}

// receive counts the messages of an End until it ends.
func (r *roamer) receive(end geminio.End) {
	for {
		m, err := end.Receive(context.Background())
		if err != nil {
			return
		}
		r.done.add(m.Data())
		m.Done()
	}
}

// connect connects a plain client to a node.
func (r *roamer) connect(to *host, number uint64) (geminio.End, error) {
	end, err := client.NewEnd("tcp", to.addr, r.options(func() uint64 { return number }))
	if err == nil {
		go r.receive(end)
	}
	return end, err
}

// move moves the client to a random node, and returns when all nodes know its new connection.
func (r *roamer) move(move func() error) error {
	r.moves.Add(1)
	var before uint64
	if c, err := r.hosts[0].Locate(r.id); err == nil {
		before = c.Generation
	}
	if err := move(); err != nil {
		return err
	}
	known := func(h *host) bool {
		c, err := h.Locate(r.id)
		return err == nil && c.Node == r.at.ID() && c.Generation > before
	}
	for begin := time.Now(); !known(r.hosts[0]) || !known(r.hosts[1]) || !known(r.hosts[2]); time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			return errors.New("a node does not know the new connection")
		}
	}
	r.gen.Store(r.last)
	r.moves.Add(1)
	return nil
}

// plainly makes a new connection: after the old one was closed, beside it, or to two nodes at the same time.
func (r *roamer) plainly() error {
	old, first := r.end, r.random.IntN(len(r.hosts))
	a, b := r.hosts[first], r.hosts[(first+1+r.random.IntN(len(r.hosts)-1))%len(r.hosts)]
	how := r.random.IntN(3)
	if how == 0 && old != nil {
		old.Close()
	}
	r.last++
	number := r.last
	if how != 2 {
		end, err := r.connect(a, number)
		r.end, r.at = end, a
		return err
	}
	r.last++
	other := kit.Start(func() geminio.End {
		end, err := r.connect(b, number+1)
		if err != nil {
			return nil // the other connection has replaced it so early
		}
		return end
	})
	one, err := r.connect(a, number)
	two := <-other
	switch {
	case err != nil && two == nil:
		return err
	case err != nil:
		r.end, r.at = two, b
		return nil
	case two == nil:
		r.end, r.at, r.last = one, a, number
		return nil
	}
	select { // one of them remains
	case <-geminio.Done(one):
		r.end, r.at = two, b
	case <-geminio.Done(two):
		r.end, r.at, r.last = one, a, number
	case <-time.After(patience):
		return errors.New("two connections of one client remain")
	}
	return nil
}

// retrying cuts the connection of a retry End, which connects to another node. Its connections have no numbers,
// since its handlers do not know over which one they answer.
func (r *roamer) retrying() (err error) {
	at := r.hosts[r.random.IntN(len(r.hosts))]
	for r.at == at { // the same node would resume the session
		at = r.hosts[r.random.IntN(len(r.hosts))]
	}
	r.at = at
	r.target.Store(at)
	if r.end != nil {
		(*r.conn.Load()).Close()
	} else {
		r.end, err = client.NewRetryEndWithDialer(func() (net.Conn, error) {
			conn, err := net.Dial("tcp", r.target.Load().addr)
			if err == nil {
				r.conn.Store(&conn)
			}
			return conn, err
		}, r.options(func() uint64 { return 0 }))
		if err != nil {
			return err
		}
		go r.receive(r.end)
	}
	return nil
}

// outcome is what the caller of an operation knows at its end.
type outcome struct {
	number   uint64
	least    int // how often the client has to have executed it
	most     int
	describe string
}

// TestManyClientsRoam moves many clients between nodes, while all nodes call them and publish to them.
//
// A connection that all nodes know answers all later calls: no older one does. A call to a client that does not
// move succeeds. Each operation is executed at most once, once if it has succeeded, and not at all if its error
// says so. At the end all nodes know where the clients are.
func TestManyClientsRoam(t *testing.T) {
	t.Parallel()
	a, b, c := three(t)
	roam(t, []*host{a, b, c}, func() {}, true)
}

// TestManyClientsRoamWithoutNATS is TestManyClientsRoam with nodes that lose NATS again and again. A node
// without NATS cannot know that its client has moved, and cannot reach the clients of others.
func TestManyClientsRoamWithoutNATS(t *testing.T) {
	t.Parallel()
	s := natsServer(t, embed.Options{Listen: "127.0.0.1:-1"})
	var hosts []*host
	var proxies []*kit.Proxy
	for range 3 {
		nc, p := connectProxied(t, s, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		proxies, hosts = append(proxies, p), append(hosts, join(t, nc, cluster.Options{}))
	}
	roam(t, hosts, func() { proxies[rand.IntN(len(proxies))].Cut() }, false)
}

// roam moves clients between hosts, and calls disturb after some moves. With strict, nothing disturbs the nodes.
func roam(t *testing.T, hosts []*host, disturb func(), strict bool) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	clients, moves := 200, 6
	if kit.Race || testing.Short() {
		clients, moves = 60, 4
	}
	done := &ledger{times: make(map[uint64]int)}
	var roamers []*roamer
	for i := range clients {
		r := &roamer{id: uint64(i + 1), hosts: hosts, random: rand.New(rand.NewPCG(seed, uint64(i))), done: done}
		roamers = append(roamers, r)
		t.Cleanup(func() { r.end.Close() })
	}
	moving := make(chan struct{}, clients/10) // the others stay where they are meanwhile
	step := func(r *roamer) error {
		moving <- struct{}{}
		defer func() { <-moving }()
		if r.id%4 == 0 {
			return r.move(r.retrying)
		}
		return r.move(r.plainly)
	}
	all := func(f func(r *roamer) error) {
		var running sync.WaitGroup
		for _, r := range roamers {
			running.Go(func() { assert.NoError(t, f(r), "client %d", r.id) })
		}
		running.Wait()
	}
	all(step)
	if t.Failed() {
		return
	}

	stop := make(chan struct{})
	var working sync.WaitGroup
	var numbers, succeeded, moved atomic.Uint64
	var mu sync.Mutex
	var outcomes []outcome
	for i, h := range hosts {
		for j := range 8 {
			random := rand.New(rand.NewPCG(seed, uint64(1000+10*i+j)))
			working.Go(func() {
				for !isClosed(stop) {
					r := roamers[random.IntN(len(roamers))]
					o := operate(t, h, r, random, numbers.Add(1), strict)
					if o.least == 1 {
						succeeded.Add(1)
					}
					mu.Lock()
					outcomes = append(outcomes, o)
					mu.Unlock()
				}
			})
		}
	}
	all(func(r *roamer) error {
		for range moves {
			if err := step(r); err != nil {
				return err
			}
			if moved.Add(1)%uint64(clients/5) == 0 {
				disturb()
			}
		}
		return nil
	})
	before := succeeded.Load()
	eventually(t, "operations succeed", func() bool { return succeeded.Load() > before+100 })
	close(stop)
	working.Wait()
	t.Logf("%d moves, %d operations, of which %d have succeeded", moved.Load(), len(outcomes), succeeded.Load())

	for _, h := range hosts {
		eventually(t, "the node has NATS", func() bool { return h.Stats().Connected })
	}
	for _, r := range roamers {
		for _, h := range hosts {
			settled(t, r.id, r.at, h)
			resp, err := h.Call(within(t), r.id, "who", make([]byte, 8))
			require.NoError(t, err, "client %d", r.id)
			assert.Equal(t, r.id, binary.BigEndian.Uint64(resp.Data))
			assert.Equal(t, r.last, binary.BigEndian.Uint64(resp.Data[8:]), "client %d", r.id)
		}
	}
	local := 0
	for _, h := range hosts {
		assert.Equal(t, clients, h.Stats().Clients)
		local += h.Stats().LocalClients
	}
	assert.Equal(t, clients, local, "no node has an old connection")
	done.mu.Lock()
	defer done.mu.Unlock()
	for _, o := range outcomes {
		times := done.times[o.number]
		assert.True(t, o.least <= times && times <= o.most, "executed %d times: %s", times, o.describe)
	}
}

// operate calls a client or publishes to it, and checks the outcome.
func operate(t *testing.T, h *host, r *roamer, random *rand.Rand, number uint64, strict bool) outcome {
	size := 8
	if random.IntN(8) == 0 {
		size = 100 << 10 // over a direct connection
	}
	data := make([]byte, size)
	binary.BigEndian.PutUint64(data, number)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	short := random.IntN(8) == 0
	if short {
		time.AfterFunc(time.Duration(random.IntN(5_000_000)), cancel)
	}
	publishes := random.IntN(3) == 0
	gen := r.gen.Load()
	before := r.moves.Load()
	var err error
	if publishes {
		err = h.Publish(ctx, r.id, "t", data)
	} else {
		var resp *cluster.Response
		resp, err = h.Call(ctx, r.id, "who", data)
		if err == nil {
			assert.Equal(t, r.id, binary.BigEndian.Uint64(resp.Data), "the client that was called answers")
			assert.True(t, !strict || binary.BigEndian.Uint64(resp.Data[8:]) >= gen, "no stale connection answers")
		}
	}
	stayed := before%2 == 0 && before == r.moves.Load()
	o := outcome{number: number, most: 1}
	switch {
	case err == nil:
		o.least = 1
	case errors.Is(err, cluster.ErrClientOffline) || errors.Is(err, geminio.ErrNotExecuted):
		o.most = 0
	case !strict && errors.Is(err, cluster.ErrNoNATS):
		if !errors.Is(err, geminio.ErrMaybeExecuted) {
			o.most = 0
		}
	case short && errors.Is(err, context.Canceled) || errors.Is(err, geminio.ErrMaybeExecuted):
	default:
		assert.NoError(t, err, "the operation fails clearly")
	}
	if err != nil && !short && strict {
		assert.False(t, stayed, "the client did not move: %v", err)
	}
	o.describe = "a call"
	if publishes {
		o.describe = "a publication"
	}
	if err != nil {
		o.describe += ": " + err.Error()
	}
	return o
}
