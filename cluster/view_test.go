package cluster

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/gauge"
)

// TestCountsOfAView makes random changes and counts the clients after each.
func TestCountsOfAView(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	nodes := []string{"a", "b", "c"}
	node := func() string { return nodes[r.IntN(len(nodes))] }
	v := newView()
	for step := range 5000 {
		id := uint64(r.IntN(5))
		switch r.IntN(7) {
		case 0:
			v.setNode(&peer{id: node()})
		case 1:
			v.removeNode(node())
		case 2:
			v.leave(&peer{id: node(), leaving: true})
		case 3:
			v.setClient(id, record{rev: uint64(r.IntN(step + 1))})
		case 4:
			v.correctClient(id, record{})
		case 5:
			v.forget(time.Now())
		default:
			v.setClient(id, record{node: node(), state: ClientState(r.IntN(2)), rev: uint64(step)})
		}
		online, interrupted := 0, 0
		counts := make(map[string]int)
		for id := range uint64(5) {
			if r, alive := v.client(id); alive {
				online++
				interrupted += int(r.state)
				counts[r.node]++
			}
		}
		require.Equal(t, online, v.online, "seed %d, step %d", seed, step)
		require.Equal(t, interrupted, v.interrupted, "seed %d, step %d", seed, step)
		for _, p := range v.nodes {
			require.Equal(t, counts[p.id], p.clients, "seed %d, step %d", seed, step)
		}
	}
}

func TestAViewKeepsTheNewestEntry(t *testing.T) {
	v := newView()
	v.setNode(&peer{id: "a"})
	v.setNode(&peer{id: "b"})
	v.setClient(7, record{node: "b", rev: 5})
	v.setClient(7, record{node: "a", rev: 4}) // a late update
	v.setClient(7, record{rev: 3})            // a late removal
	r, alive := v.client(7)
	assert.True(t, alive)
	assert.Equal(t, record{node: "b", rev: 5}, r)
	assert.Equal(t, []uint64{7}, v.clientsOf("b"))

	v.setClient(7, record{rev: 6, written: time.Now()})
	r, alive = v.client(7)
	assert.False(t, alive)
	assert.Equal(t, uint64(6), r.rev, "the next write has to name it")
	v.forget(time.Now().Add(-time.Minute))
	assert.Len(t, v.clients, 1)
	v.forget(time.Now().Add(time.Minute))
	assert.Empty(t, v.clients)
}

func TestAViewThatIsReadAnew(t *testing.T) {
	v := newView()
	v.setNode(&peer{id: "a"})
	v.setNode(&peer{id: "b"})
	v.leave(&peer{id: "c", leaving: true})
	v.setClient(7, record{node: "b", rev: 5})
	next := newView()
	next.setClient(8, record{node: "a", rev: 1})
	next.setNode(&peer{id: "a"})
	next.setClient(9, record{node: "x", rev: 2})
	assert.ElementsMatch(t, []string{"b", "c"}, v.replace(next, false))
	assert.Equal(t, 1, v.online)
	assert.Equal(t, map[uint64]record{9: {node: "x", rev: 2}}, v.orphans())
	assert.True(t, v.first("a"))
	assert.False(t, v.first("b"))
}

// TestSuspectsOfAView ends leases while NATS is disturbed.
func TestSuspectsOfAView(t *testing.T) {
	v := newView()
	for _, id := range []string{"a", "b", "c"} {
		v.setNode(&peer{id: id})
	}
	v.setClient(7, record{node: "b", rev: 5})
	assert.False(t, v.suspect("x"))
	assert.True(t, v.suspect("a"))
	next := newView()
	next.setClient(7, record{node: "b", rev: 5})
	next.setNode(&peer{id: "a"})
	assert.Empty(t, v.replace(next, true), "no node is lost yet")
	assert.Equal(t, 1, v.online)
	v.setNode(&peer{id: "c"}) // it has renewed its lease
	assert.Equal(t, []string{"b"}, v.removeSuspects())
	assert.Zero(t, v.online)
	assert.True(t, v.knows("a"))
	assert.True(t, v.knows("c"))
	assert.Empty(t, v.removeSuspects())
}

// TestMembersOfAView brings the entries of a member by the watch and by the writes of this node.
func TestMembersOfAView(t *testing.T) {
	v := newView()
	member := func(rev uint64) membership { return membership{member: true, rev: rev} }
	v.watchMember("g", 7, member(5))
	assert.Equal(t, []string{"g"}, v.groupsOf(7))
	v.setMember("g", 7, membership{rev: 6}) // this node has removed it
	assert.Empty(t, v.joined)
	assert.Empty(t, v.members("g"))
	v.watchMember("g", 7, member(5))
	assert.Empty(t, v.members("g"), "the entry is older than the removal")
	v.watchMember("g", 7, membership{rev: 6})
	assert.Empty(t, v.groups, "nothing is left")
	v.setMember("g", 7, member(4))
	assert.Empty(t, v.members("g"), "the watch has brought this write already")
	v.setMember("g", 7, member(7))
	assert.Equal(t, []uint64{7}, v.members("g"))
	v.watchMember("h", 7, member(8))
	all, watched := v.memberships(7)
	assert.Equal(t, map[string]membership{"g": member(7), "h": member(8)}, all)
	assert.Equal(t, uint64(8), watched)

	v.setNode(&peer{id: "a"})
	v.setClient(7, record{node: "a", rev: 1})
	assert.Equal(t, []string{"b", "a"}, v.nodesOf("g", "b"))
	v.removeNode("a")
	assert.Equal(t, []string{"a"}, v.nodesOf("g", "a"))
}

func FuzzParseMemberName(f *testing.F) {
	f.Add(memberName("room 7", 7))
	f.Fuzz(func(t *testing.T, key string) {
		if group, client, ok := parseMemberName(key); ok {
			again, id, ok := parseMemberName(memberName(group, client))
			assert.True(t, ok)
			assert.Equal(t, group, again)
			assert.Equal(t, client, id)
		}
	})
}

// BenchmarkMemory tells how many bytes an entry of a client and a membership need in a view.
func BenchmarkMemory(b *testing.B) {
	const n = 200_000
	for b.Loop() {
		v, before := newView(), gauge.Take()
		for id := range uint64(n) {
			value := fmt.Appendf(nil, "the-id-of-a-node-no-%02d %d 0", id%3, 1_700_000_000_000+id)
			v.setClient(id, newRecord(value, true, id+1, time.Now()))
		}
		entries := gauge.Take()
		for id := range uint64(n) {
			v.watchMember(strconv.FormatUint(id/100, 10), id, newMembership([]byte("1795000000000000"), true, id+1))
		}
		memberships := gauge.Take()
		b.ReportMetric(float64(entries.Since(before).Heap)/n, "B/entry")
		b.ReportMetric(float64(memberships.Since(entries).Heap)/n, "B/membership")
		runtime.KeepAlive(v)
	}
}
