package main

// These tests break the connections between hops while TCP connections go through them.

import (
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
)

// cuttable are chains of one, two and three connections between hops. Each connection goes
// through a proxy.
var cuttable = map[string]func(t *testing.T, target string) (hops []*hop, proxies []*kit.Proxy){
	"in, out": func(t *testing.T, target string) ([]*hop, []*kit.Proxy) {
		out := startHop(t, roleOut, "-target", target)
		p := kit.NewProxy(t, out.addr)
		in := startHop(t, roleIn, "-next", p.Addr)
		return []*hop{in, out}, []*kit.Proxy{p}
	},
	"in, relay_out, out": func(t *testing.T, target string) ([]*hop, []*kit.Proxy) {
		relay := startHop(t, roleRelayOut)
		first, second := kit.NewProxy(t, relay.addr), kit.NewProxy(t, relay.nextAddr)
		out := startHop(t, roleOut, "-join", second.Addr, "-target", target)
		in := startHop(t, roleIn, "-next", first.Addr)
		return []*hop{in, relay, out}, []*kit.Proxy{first, second}
	},
	"in, relay_out, relay_in, out": func(t *testing.T, target string) ([]*hop, []*kit.Proxy) {
		out := startHop(t, roleOut, "-target", target)
		third := kit.NewProxy(t, out.addr)
		relay := startHop(t, roleRelayOut)
		first, second := kit.NewProxy(t, relay.addr), kit.NewProxy(t, relay.nextAddr)
		inner := startHop(t, roleRelayIn, "-join", second.Addr, "-next", third.Addr)
		in := startHop(t, roleIn, "-next", first.Addr)
		return []*hop{in, relay, inner, out}, []*kit.Proxy{first, second, third}
	},
}

// TCP connections continue when the connections between hops are lost and made again.
func TestLostConnections(t *testing.T) {
	const cuts, connections, size, answer = 10, 4, 3 << 20, 600_000
	for shape, start := range cuttable {
		t.Run(shape, func(t *testing.T) {
			target := listen(t)
			hops, proxies := start(t, target.Addr().String())
			c := &chain{t, hops, target}
			client, served := c.pair() // a connection that is idle during the transfers
			c.answerSums(answer)
			for _, p := range proxies {
				exchange(t, client, served)
				require.NotZero(t, p.Cut())
				exchange(t, served, client)
			}

			var cutting atomic.Bool
			cutting.Store(true)
			var wg sync.WaitGroup
			for i := range connections {
				wg.Go(func() { // transfers are under way as long as there are cuts
					for ok := true; ok && cutting.Load(); {
						ok = assert.NoError(t, c.ask(size, answer, i))
					}
				})
			}
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 0))
			cut := 0
			for range cuts {
				time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
				cut += proxies[r.IntN(len(proxies))].Cut()
			}
			cutting.Store(false)
			wg.Wait()
			t.Logf("cut %d connections, seed %d", cut, seed)
			assert.NotZero(t, cut)
			exchange(t, client, served)
			exchange(t, served, client)
			require.NoError(t, client.CloseWrite())
			rest, err := io.ReadAll(served)
			assert.NoError(t, err)
			assert.Empty(t, rest)
			for _, h := range hops {
				assert.NotContains(t, h.Output(), "msg=broken")
			}
		})
	}
}

// TCP connections break when a connection between hops is lost for longer than -keep.
func TestKeepEnds(t *testing.T) {
	target := listen(t)
	out := startHop(t, roleOut, "-target", target.Addr().String(), "-keep", "1s")
	p := kit.NewProxy(t, out.addr)
	in := startHop(t, roleIn, "-next", p.Addr, "-keep", "1s")
	c := &chain{t, []*hop{in, out}, target}
	client, served := c.pair()
	p.SetTarget("")
	p.Cut()
	_, err := io.ReadAll(client)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = io.ReadAll(served)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	p.SetTarget(out.addr)
	c.pair()
}

// A hop that is restarted does not have the sessions of the process before. TCP connections break
// when it is back.
func TestRestartEndsSessions(t *testing.T) {
	c := startChain(t, "in, relay_in, relay_in, out", "-keep", proc.Forever.String())
	client, _ := c.pair()
	c.hops[1].Kill()
	c.hops[1].start()
	c.hops[1].ready()
	_, err := io.ReadAll(client)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	c.pair()
}

// A hop without open connections that gets SIGTERM does not wait for a previous hop that is
// gone.
func TestStopWithoutPreviousHop(t *testing.T) {
	relay := startHop(t, roleRelayOut)
	out := startHop(t, roleOut, "-join", relay.nextAddr, "-target", closedAddr(t), "-grace", (2 * proc.Forever).String())
	relay.Kill()
	out.Expect("no connection with the previous hop")
	out.Signal(syscall.SIGTERM)
	assert.Zero(t, out.Wait())
}
