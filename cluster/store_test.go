package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/test/kit"
)

// inbox has the texts of the messages that a client has received and acknowledged.
type inbox struct {
	mu    sync.Mutex
	texts []string
}

// receive receives and acknowledges the messages of an End until it ends.
func (b *inbox) receive(end geminio.End) {
	for {
		m, err := end.Receive(context.Background())
		if err != nil {
			return
		}
		b.mu.Lock()
		b.texts = append(b.texts, string(m.Data()))
		b.mu.Unlock()
		m.Done()
	}
}

// all returns the texts without those that were received before.
func (b *inbox) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := make(map[string]bool)
	return slices.DeleteFunc(slices.Clone(b.texts), func(text string) bool {
		was := seen[text]
		seen[text] = true
		return was
	})
}

// raw returns all texts.
func (b *inbox) raw() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.texts)
}

// receiving connects a client that receives and acknowledges messages.
func (h *host) receiving(id uint64, b *inbox) geminio.End {
	end := h.dial(id)
	go b.receive(end)
	return end
}

// store stores numbered messages for a group.
func (h *host) store(group string, from, to int) (texts []string) {
	h.t.Helper()
	for i := from; i < to; i++ {
		text := group + " " + strconv.Itoa(i)
		require.NoError(h.t, h.BroadcastStored(within(h.t), group, "topic", []byte(text)))
		texts = append(texts, text)
	}
	return texts
}

// cursorWritten waits until the bucket has a cursor of a client that is not the old one, and returns it.
func cursorWritten(t *testing.T, h *host, id uint64, old string) (value string) {
	t.Helper()
	js, err := jetstream.New(h.nc)
	require.NoError(t, err)
	kv, err := js.KeyValue(within(t), "geminio_cursors")
	require.NoError(t, err)
	eventually(t, "the cursor was written", func() bool {
		e, err := kv.Get(within(t), fmt.Sprint(id))
		if err != nil {
			return false
		}
		value = string(e.Value())
		return value != old
	})
	return value
}

// TestAStoredBroadcast stores messages for members of three nodes, of which one is offline.
func TestAStoredBroadcast(t *testing.T) {
	a, b, c := three(t)
	const group = "room 7 / ü.*>"
	var near, far, late, other inbox
	for _, id := range []uint64{1, 2, 3} {
		require.NoError(t, a.JoinGroup(within(t), id, group))
	}
	a.receiving(1, &near)
	b.receiving(2, &far)
	b.receiving(4, &other)
	want := c.store(group, 0, 50)
	for _, in := range []*inbox{&near, &far} {
		eventually(t, "the members have the messages", func() bool { return len(in.raw()) == 50 })
		assert.Equal(t, want, in.raw())
	}
	require.NoError(t, b.JoinGroup(within(t), 4, group))
	var offline inbox
	c.receiving(3, &offline)
	eventually(t, "the member has the messages", func() bool { return len(offline.raw()) == 50 })
	assert.Equal(t, want, offline.raw())

	more := a.store(group, 50, 60)
	require.NoError(t, a.JoinGroup(within(t), 5, group))
	a.receiving(5, &late)
	last := b.store(group, 60, 61)
	for _, in := range []*inbox{&near, &far, &offline} {
		eventually(t, "the members have all messages", func() bool { return len(in.raw()) == 61 })
		assert.Equal(t, slices.Concat(want, more, last), in.raw())
	}
	eventually(t, "the other members have the later messages", func() bool { return len(other.raw()) == 11 && len(late.raw()) == 1 })
	assert.Equal(t, slices.Concat(more, last), other.raw())
	assert.Equal(t, last, late.raw())
	stored, delivered := uint64(0), uint64(0)
	for _, h := range []*host{a, b, c} {
		s := h.Stats()
		assert.Zero(t, s.Missed+s.Declined)
		stored, delivered = stored+s.Stored, delivered+s.Delivered
	}
	assert.Equal(t, uint64(61), stored)
	eventually(t, "the acknowledgements were counted", func() bool {
		return a.Stats().Delivered+b.Stats().Delivered+c.Stats().Delivered == 3*61+12
	})
}

// TestAStoredMessage checks the parts of a message.
func TestAStoredMessage(t *testing.T) {
	a, b, _ := three(t)
	require.NoError(t, a.JoinGroup(within(t), 1, "g"))
	opt := options.NewMessage()
	opt.SetCustom([]byte("custom"))
	md := metadata.Pairs("k", "v")
	require.NoError(t, a.BroadcastStored(metadata.NewOutgoingContext(within(t), md), "g", "said", []byte("data"), opt))
	require.NoError(t, a.BroadcastStored(within(t), "g", "", nil))
	end := b.dial(1)
	m, err := end.Receive(within(t))
	require.NoError(t, err)
	assert.Equal(t, "said", m.Topic())
	assert.Equal(t, "data", string(m.Data()))
	assert.Equal(t, "custom", string(m.Custom()))
	assert.Equal(t, md, metadata.From(m))
	assert.Equal(t, options.CnssAtLeastOnce, m.Cnss())
	m, err = end.Receive(within(t))
	require.NoError(t, err)
	assert.Empty(t, m.Data())
	assert.Empty(t, m.Topic())
	assert.Empty(t, metadata.From(m))
}

// TestAStoredMessageThatIsNotAcknowledged moves a client that has received messages, and has acknowledged
// only some of them.
func TestAStoredMessageThatIsNotAcknowledged(t *testing.T) {
	a, b, c := three(t)
	require.NoError(t, a.JoinGroup(within(t), 1, "g"))
	a.store("g", 0, 5)
	end := a.dial(1)
	for i := range 5 {
		m, err := end.Receive(within(t))
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprint("g ", i), string(m.Data()))
		if i < 2 {
			require.NoError(t, m.Done())
		}
	}
	eventually(t, "the acknowledgements have arrived", func() bool { return a.Stats().Delivered == 2 })
	end.Close()
	old := cursorWritten(t, a, 1, "")
	var in inbox
	moved := b.receiving(1, &in)
	eventually(t, "the other messages have arrived", func() bool { return len(in.raw()) == 3 })
	assert.Equal(t, []string{"g 2", "g 3", "g 4"}, in.raw())
	eventually(t, "they were acknowledged", func() bool { return b.Stats().Delivered == 3 })

	// A client that has acknowledged all messages gets only the new one.
	moved.Close()
	cursorWritten(t, a, 1, old)
	a.store("g", 5, 6)
	var last inbox
	c.receiving(1, &last)
	eventually(t, "the new message has arrived", func() bool { return len(last.raw()) == 1 })
	assert.Equal(t, []string{"g 5"}, last.raw())
}

// TestAStoredMessageThatIsDeclined answers with an error. The messages behind it arrive.
func TestAStoredMessageThatIsDeclined(t *testing.T) {
	a, b, _ := three(t)
	require.NoError(t, a.JoinGroup(within(t), 1, "g"))
	a.store("g", 0, 3)
	end := b.dial(1)
	for range 3 {
		m, err := end.Receive(within(t))
		require.NoError(t, err)
		require.NoError(t, m.Error(errors.New("no")))
	}
	eventually(t, "the answers were counted", func() bool { return b.Stats().Declined == 3 })
	end.Close()
	cursorWritten(t, a, 1, "")
	a.store("g", 3, 4)
	var in inbox
	a.receiving(1, &in)
	eventually(t, "the next message has arrived", func() bool { return len(in.raw()) == 1 })
	assert.Equal(t, []string{"g 3"}, in.raw())
}

// TestASlowMemberOfTheStore has a client that receives nothing, beside one that does.
func TestASlowMemberOfTheStore(t *testing.T) {
	a, b, _ := three(t)
	slow := a.dial(1)
	var in inbox
	a.receiving(2, &in)
	for id := range uint64(2) {
		require.NoError(t, b.JoinGroup(within(t), id+1, "g"))
	}
	const messages = 40
	for i := range messages {
		data := fmt.Appendf(make([]byte, 200<<10), "%d", i)
		require.NoError(t, b.BroadcastStored(within(t), "g", "", data))
	}
	eventually(t, "the other member has all messages", func() bool { return len(in.raw()) == messages })
	for i := range messages {
		m, err := slow.Receive(within(t))
		require.NoError(t, err)
		assert.Equal(t, strconv.Itoa(i), string(m.Data()[200<<10:]))
		require.NoError(t, m.Done())
	}
}

// TestMembershipsAndTheStore joins and leaves groups.
func TestMembershipsAndTheStore(t *testing.T) {
	a, b, c := three(t)
	require.NoError(t, a.JoinGroup(within(t), 1, "g"))
	require.NoError(t, a.JoinGroup(within(t), 1, "h"))
	want := a.store("g", 0, 2)
	// A client that is a member already keeps what it is to get, whatever node it joins at.
	for _, h := range []*host{a, b, c} {
		require.NoError(t, h.JoinGroup(within(t), 1, "g"))
	}
	a.store("h", 0, 2)
	require.NoError(t, b.LeaveGroup(within(t), 1, "h"))
	a.store("h", 2, 4)
	require.NoError(t, c.JoinGroup(within(t), 1, "h"))
	want = append(want, a.store("h", 4, 5)...)
	grouped(t, "h", []uint64{1}, a, b, c)
	var in inbox
	end := b.receiving(1, &in)
	eventually(t, "the messages have arrived", func() bool { return len(in.raw()) == 3 })
	assert.ElementsMatch(t, want, in.raw())

	// The client leaves all groups, and its cursor goes with it.
	end.Close()
	cursorWritten(t, a, 1, "")
	for _, group := range []string{"g", "h"} {
		require.NoError(t, b.LeaveGroup(within(t), 1, group))
	}
	a.store("g", 2, 3)
	js, err := jetstream.New(a.nc)
	require.NoError(t, err)
	kv, err := js.KeyValue(within(t), "geminio_cursors")
	require.NoError(t, err)
	eventually(t, "the cursor was removed", func() bool {
		_, err := kv.Get(within(t), "1")
		return errors.Is(err, jetstream.ErrKeyNotFound)
	})
	require.NoError(t, b.JoinGroup(within(t), 1, "g"))
	last := a.store("g", 3, 4)
	var again inbox
	c.receiving(1, &again)
	eventually(t, "the last message has arrived", func() bool { return len(again.raw()) == 1 })
	assert.Equal(t, last, again.raw())
}

// TestStoredMessagesThatAreRemoved exceeds the size and the age of the store.
func TestStoredMessagesThatAreRemoved(t *testing.T) {
	t.Parallel()
	s := natsServer(t, embed.Options{})
	opt := cluster.Options{StoreMaxBytes: 1 << 20, StoreMaxAge: 2 * time.Second}
	a, b := join(t, connect(t, s), opt), join(t, connect(t, s), opt)
	for id := range uint64(2) {
		require.NoError(t, a.JoinGroup(within(t), id+1, "g"))
	}
	for i := range 40 {
		require.NoError(t, a.BroadcastStored(within(t), "g", "", fmt.Appendf(make([]byte, 100<<10), "%d", i)))
	}
	end := b.dial(1)
	m, err := end.Receive(within(t))
	require.NoError(t, err)
	first, err := strconv.Atoi(string(m.Data()[100<<10:]))
	require.NoError(t, err)
	assert.Greater(t, first, 0)
	assert.Equal(t, uint64(1), b.Stats().Missed)
	js, err := jetstream.New(a.nc)
	require.NoError(t, err)
	eventually(t, "all messages were removed", func() bool {
		stream, err := js.Stream(within(t), "GROUPS_geminio")
		return err == nil && stream.CachedInfo().State.Msgs == 0
	})
	var in inbox
	a.receiving(2, &in)
	eventually(t, "the node has noticed", func() bool { return a.Stats().Missed == 1 })
	last := a.store("g", 0, 1)
	eventually(t, "the next message arrives", func() bool { return len(in.raw()) == 1 })
	assert.Equal(t, last, in.raw())
	assert.Equal(t, uint64(1), a.Stats().Missed)
}

// TestTheStoreWithoutNATS cuts a node off from NATS, and then loses NATS with its files.
func TestTheStoreWithoutNATS(t *testing.T) {
	s := natsServer(t, embed.Options{Listen: "127.0.0.1:-1"})
	nc, proxy := connectProxied(t, s)
	a, b := join(t, nc, cluster.Options{}), join(t, connectURL(t, s), cluster.Options{})
	var in inbox
	a.receiving(1, &in)
	require.NoError(t, a.JoinGroup(within(t), 1, "g"))
	want := a.store("g", 0, 3)
	eventually(t, "the messages have arrived", func() bool { return len(in.raw()) == 3 })

	proxy.SetTarget("")
	proxy.Cut()
	eventually(t, "the node notices", func() bool { return !a.Stats().Connected && !nc.IsConnected() })
	assert.ErrorIs(t, a.BroadcastStored(within(t), "g", "", nil), cluster.ErrNoNATS)
	want = append(want, b.store("g", 3, 6)...)
	assert.Len(t, in.raw(), 3)
	proxy.SetTarget(s.Addr())
	eventually(t, "the other messages have arrived", func() bool { return len(in.raw()) == 6 })
	assert.Equal(t, want, in.raw())

	listen := s.Addr()
	s.Close()
	eventually(t, "the nodes notice", func() bool { return !a.Stats().Connected && !b.Stats().Connected })
	natsServer(t, embed.Options{Listen: listen, Dir: t.TempDir()})
	proxy.SetTarget(listen)
	eventually(t, "the nodes are back", func() bool { return a.Stats().Connected && b.Stats().Connected })
	require.NoError(t, b.JoinGroup(within(t), 1, "g"), "memberships are lost with the files")
	want = append(want, b.store("g", 6, 9)...)
	eventually(t, "the messages have arrived", func() bool { return len(in.all()) == 9 })
	assert.Equal(t, want, in.all(), "the first ones may come again, since the cursor was lost too")
}

func TestWrongStoredBroadcasts(t *testing.T) {
	a, _, _ := three(t)
	assert.ErrorContains(t, a.BroadcastStored(within(t), "", "", nil), "empty")
	assert.ErrorIs(t, a.BroadcastStored(within(t), string(make([]byte, 129)), "", nil), geminio.ErrTooLarge)
	assert.ErrorIs(t, a.BroadcastStored(within(t), "g", "", make([]byte, 1<<20)), geminio.ErrTooLarge)
	require.NoError(t, a.BroadcastStored(within(t), "g", "", make([]byte, 1<<20-1024)))
	var none context.Context
	assert.Error(t, a.BroadcastStored(none, "g", "", nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, a.BroadcastStored(ctx, "g", "", nil), context.Canceled)
	require.NoError(t, a.Close())
	assert.Equal(t, cluster.ErrClosed, a.BroadcastStored(within(t), "g", "", nil))
}

// wanderer is a client that a random test connects, and makes a member of groups.
type wanderer struct {
	in     inbox
	end    geminio.End // nil while it is not connected
	ended  chan struct{}
	groups map[string][]string // the messages of each group since the client has joined it
	before map[string][]string // the messages of each group before the client has first joined it
}

// connect connects a client that is not connected.
func (r *wanderer) connect(h *host, id uint64) {
	r.end, r.ended = h.dial(id), make(chan struct{})
	go func(end geminio.End, ended chan struct{}) {
		r.in.receive(end)
		close(ended)
	}(r.end, r.ended)
}

// TestRandomMembers connects, disconnects, joins and leaves at random. Each member gets the messages of its
// groups, in order, and no message from before it was a member.
func TestRandomMembers(t *testing.T) {
	a, b, c := three(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	hosts, groups := []*host{a, b, c}, []string{"f", "g", "h"}
	all, stored := make([]wanderer, 10), make(map[string][]string)
	for i := range all {
		all[i].groups, all[i].before = make(map[string][]string), make(map[string][]string)
	}
	for range 400 {
		h, group, id := hosts[r.IntN(3)], groups[r.IntN(3)], r.IntN(len(all))
		v := &all[id]
		messages, member := v.groups[group]
		switch r.IntN(6) {
		case 0:
			if v.end == nil {
				v.connect(h, uint64(id+1))
			}
		case 1:
			if v.end != nil {
				v.end.Close()
				<-v.ended
				v.end = nil
			}
		case 2:
			require.NoError(t, h.JoinGroup(within(t), uint64(id+1), group))
			v.groups[group] = messages // also if there is none
			if _, was := v.before[group]; !was {
				v.before[group] = slices.Clone(stored[group])
			}
		case 3:
			if member && r.IntN(4) == 0 {
				require.NoError(t, h.LeaveGroup(within(t), uint64(id+1), group))
				delete(v.groups, group)
			}
		default:
			texts := h.store(group, len(stored[group]), len(stored[group])+1)
			stored[group] = append(stored[group], texts...)
			for i := range all {
				if messages, member := all[i].groups[group]; member {
					all[i].groups[group] = append(messages, texts...)
				}
			}
		}
	}
	for id := range all {
		v := &all[id]
		if v.end == nil {
			v.connect(hosts[r.IntN(3)], uint64(id+1))
		}
		eventually(t, "the member has all messages", func() bool {
			got := make(map[string]bool)
			for _, text := range v.in.raw() {
				got[text] = true
			}
			for _, messages := range v.groups {
				if slices.ContainsFunc(messages, func(text string) bool { return !got[text] }) {
					return false
				}
			}
			return true
		})
		got := v.in.all()
		for group, messages := range stored {
			of := slices.DeleteFunc(slices.Clone(got), func(text string) bool { return !slices.Contains(messages, text) })
			assert.True(t, slices.IsSortedFunc(of, func(a, b string) int { return slices.Index(messages, a) - slices.Index(messages, b) }),
				"seed %d: client %d: %v", seed, id, of)
			for _, early := range v.before[group] {
				assert.NotContains(t, of, early, "seed %d: client %d", seed, id)
			}
		}
	}
	for _, h := range hosts {
		assert.Zero(t, h.Stats().Missed, "seed %d", seed)
	}
}

// TestStoredMessagesOfAKilledNode kills a node whose clients receive messages. They connect to the other
// nodes, and get every message, in order.
func TestStoredMessagesOfAKilledNode(t *testing.T) {
	t.Parallel()
	const clients, messages = 10, 300
	s := natsServer(t, embed.Options{Listen: "127.0.0.1:-1"})
	opt := cluster.Options{Lease: 2 * time.Second}
	b, c := join(t, connect(t, s), opt), join(t, connect(t, s), opt)
	killed := start(t, "node", nodeSettings{s.URL(), opt.Lease})
	proxy := kit.NewProxy(t, killed.Addr)
	var in [clients]inbox
	for i := range in {
		o := client.NewEndOptions()
		o.SetClientID(uint64(i + 1))
		o.SetRetryBackoff(time.Millisecond, 50*time.Millisecond)
		end, err := client.NewRetryEndWithDialer(proxy.Dial, o)
		require.NoError(t, err)
		t.Cleanup(func() { end.Close() })
		go in[i].receive(end)
		require.NoError(t, b.JoinGroup(within(t), uint64(i+1), "g"))
	}
	stored := make(chan []string, 1)
	go func() { stored <- c.store("g", 0, messages) }()
	eventually(t, "messages arrive", func() bool { return len(in[0].raw()) > messages/10 })
	killed.kill()
	proxy.SetTarget(b.addr)
	want := <-stored
	for i := range in {
		eventually(t, "all messages have arrived", func() bool { return len(in[i].all()) == messages })
		assert.Equal(t, want, in[i].all())
	}
}
