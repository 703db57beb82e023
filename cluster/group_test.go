package cluster_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
)

// grouped waits until the nodes know the members of a group.
func grouped(t *testing.T, group string, ids []uint64, at ...*host) {
	t.Helper()
	for _, h := range at {
		eventually(t, "the node knows the members", func() bool { return assert.ObjectsAreEqual(ids, h.Members(group)) })
	}
}

func TestABroadcastReachesAllMembersOnce(t *testing.T) {
	a, b, c := three(t)
	hosts := []*host{a, b, c}
	const group = "room 7 / ü.*>"
	var ends []geminio.End
	var ids []uint64
	for i := range 30 {
		id := uint64(i + 1)
		ends = append(ends, hosts[i%3].dial(id))
		if i < 20 {
			require.NoError(t, a.JoinGroup(within(t), id, group), "the client need not be known yet")
			ids = append(ids, id)
		}
	}
	grouped(t, group, ids, a, b, c)
	for _, h := range hosts {
		eventually(t, "all clients are known", func() bool { return h.Stats().Clients == 30 })
	}
	for name, data := range map[string][]byte{"NATS": []byte("x"), "direct": make([]byte, 100<<10)} {
		t.Run(name, func(t *testing.T) {
			before := b.Stats().Remote
			opt := options.NewMessage()
			opt.SetCustom([]byte("custom"))
			md := metadata.Pairs("k", "v")
			got, err := b.Broadcast(metadata.NewOutgoingContext(within(t), md), group, "said", data, opt)
			require.NoError(t, err)
			assert.Equal(t, cluster.Broadcast{Reached: 20}, got)
			assert.Equal(t, uint64(2), b.Stats().Remote-before, "one request for each other node")
			for _, end := range ends[:20] {
				m, err := end.Receive(within(t))
				require.NoError(t, err)
				assert.Equal(t, "said", m.Topic())
				assert.Len(t, m.Data(), len(data))
				assert.Equal(t, "custom", string(m.Custom()))
				assert.Equal(t, md, metadata.From(m))
			}
		})
	}

	// A member that has left, and one that is offline, get nothing.
	require.NoError(t, c.LeaveGroup(within(t), 1, group))
	ends[1].Close()
	grouped(t, group, ids[1:], a, b, c)
	offline(t, 2, a, b, c)
	got, err := a.Broadcast(within(t), group, "last", nil)
	require.NoError(t, err)
	assert.Equal(t, cluster.Broadcast{Reached: 18}, got)
	for i, end := range ends {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if i == 0 || i >= 20 {
			cancel() // nothing must have arrived: all members have it already
		}
		if i == 1 {
			cancel()
			continue
		}
		m, err := end.Receive(ctx)
		if i == 0 || i >= 20 {
			assert.Error(t, err)
		} else if assert.NoError(t, err) {
			assert.Equal(t, "last", m.Topic())
		}
		cancel()
	}
	got, err = a.Broadcast(within(t), "nobody", "", nil)
	assert.NoError(t, err)
	assert.Zero(t, got)
}

func TestABroadcastThatIsAcked(t *testing.T) {
	a, b, _ := three(t)
	for id, h := range map[uint64]*host{1: a, 2: b, 3: a, 4: b} {
		end := h.dial(id)
		require.NoError(t, a.JoinGroup(within(t), id, "g"))
		go func() {
			for {
				m, err := end.Receive(context.Background())
				if err != nil {
					return
				}
				if id > 2 {
					m.Error(errors.New("no"))
				} else {
					m.Done()
				}
			}
		}()
		settled(t, id, h, a, b)
	}
	grouped(t, "g", []uint64{1, 2, 3, 4}, a, b)
	opt := options.NewMessage()
	opt.SetCnss(options.CnssAtLeastOnce)
	got, err := a.Broadcast(within(t), "g", "", nil, opt)
	require.NoError(t, err)
	assert.Equal(t, cluster.Broadcast{Reached: 2, Failed: 2}, got)
}

// TestASlowMemberDelaysNoOther broadcasts to a client that receives nothing, until it has no room.
func TestASlowMemberDelaysNoOther(t *testing.T) {
	a, b, _ := three(t)
	a.dial(1) // receives nothing
	quick := a.dial(2)
	received := make(chan int, 1)
	go func() {
		for n := 1; ; n++ {
			if _, err := quick.Receive(context.Background()); err != nil {
				received <- n - 1
				return
			}
		}
	}()
	for id := range uint64(2) {
		require.NoError(t, b.JoinGroup(within(t), id+1, "g"))
		settled(t, id+1, a, a, b)
	}
	grouped(t, "g", []uint64{1, 2}, a, b)
	total, sent := cluster.Broadcast{}, 0
	for total.Failed == 0 {
		got, err := b.Broadcast(within(t), "g", "", make([]byte, 4<<20))
		require.NoError(t, err)
		total.Reached, total.Failed = total.Reached+got.Reached, total.Failed+got.Failed
		sent++
	}
	assert.Equal(t, 2*sent, total.Reached+total.Failed)
	quick.Close()
	assert.Equal(t, sent, <-received)
}

// TestMembersOutliveTheirConnections checks that a membership lasts while the client roams.
func TestMembersOutliveTheirConnections(t *testing.T) {
	a, b, c := three(t)
	a.dial(7)
	require.NoError(t, c.JoinGroup(within(t), 7, "g"))
	settled(t, 7, a, a, b, c)
	end := b.dial(7)
	settled(t, 7, b, a, b, c)
	grouped(t, "g", []uint64{7}, a, b, c)
	got, err := a.Broadcast(within(t), "g", "t", nil)
	require.NoError(t, err)
	assert.Equal(t, cluster.Broadcast{Reached: 1}, got)
	m, err := end.Receive(within(t))
	require.NoError(t, err)
	assert.Equal(t, "t", m.Topic())
}

// TestABroadcastToAClientWithoutAnEntry broadcasts to a client that this node could not write to the bucket yet.
func TestABroadcastToAClientWithoutAnEntry(t *testing.T) {
	s := natsServer(t, embed.Options{})
	a := join(t, connect(t, s), cluster.Options{})
	require.NoError(t, a.JoinGroup(within(t), 7, "g"))
	s.Close()
	end := a.dial(7)
	eventually(t, "the client is attached", func() bool { return a.Stats().LocalClients == 1 })
	got, err := a.Broadcast(within(t), "g", "said", []byte("hello"))
	require.NoError(t, err)
	assert.Equal(t, cluster.Broadcast{Reached: 1}, got)
	m, err := end.Receive(within(t))
	require.NoError(t, err)
	assert.Equal(t, "hello", string(m.Data()))
}

// TestManyJoinAtOnce makes more clients members at a time than the client of NATS has room for. All of them
// succeed, and so do the renewals of the lease.
func TestManyJoinAtOnce(t *testing.T) {
	s := natsServer(t, embed.Options{})
	a := join(t, connect(t, s), cluster.Options{})
	ctx, clients := within(t), uint64(6000)
	var joining sync.WaitGroup
	for id := range clients {
		joining.Go(func() { assert.NoError(t, a.JoinGroup(ctx, id, "g")) })
	}
	joining.Wait()
	assert.Len(t, a.Members("g"), int(clients))
	for id := range clients {
		joining.Go(func() { assert.NoError(t, a.LeaveGroup(ctx, id, "g")) })
	}
	joining.Wait()
	assert.Empty(t, a.Members("g"))
}

func TestWrongGroups(t *testing.T) {
	a, _, _ := three(t)
	assert.ErrorIs(t, a.JoinGroup(within(t), 1, strings.Repeat("x", 129)), geminio.ErrTooLarge)
	assert.ErrorContains(t, a.JoinGroup(within(t), 1, ""), "empty")
	a.nc.Close()
	eventually(t, "the node notices", func() bool { return !a.Stats().Connected })
	assert.ErrorIs(t, a.JoinGroup(within(t), 1, "g"), cluster.ErrNoNATS)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.NoError(t, a.Close())
	assert.Equal(t, cluster.ErrClosed, a.LeaveGroup(ctx, 1, "g"))
	_, err := a.Broadcast(ctx, "g", "", nil)
	assert.Equal(t, cluster.ErrClosed, err)
}
