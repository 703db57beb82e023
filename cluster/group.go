package cluster

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

const (
	// maxGroupName bounds the bytes of the name of a group.
	maxGroupName = 128
	// slowMember is how long an at-most-once message of a broadcast waits for the credit of a client.
	slowMember = time.Second
	// broadcastTimeout bounds a broadcast whose context has no deadline, at each node.
	broadcastTimeout = 10 * time.Second
)

// JoinGroup makes a client a member of a group, and returns when the bucket has stored that. The client
// stays a member until LeaveGroup, also while it is offline or at another node. group is the name of the
// group, of 1 to 128 bytes. This node knows the member at once, and the others as soon as their watch has
// brought it. The error matches [ErrNoNATS] if NATS does not answer. JoinGroup is safe for concurrent use.
func (n *Node) JoinGroup(ctx context.Context, clientID uint64, group string) error {
	return n.setMember(ctx, clientID, group, true)
}

// LeaveGroup ends the membership of a client in a group. In all else it is like JoinGroup.
func (n *Node) LeaveGroup(ctx context.Context, clientID uint64, group string) error {
	return n.setMember(ctx, clientID, group, false)
}

// setMember writes or removes the entry of a member.
func (n *Node) setMember(ctx context.Context, clientID uint64, group string, member bool) error {
	switch {
	case ctx == nil:
		return errNilContext
	case group == "" || len(group) > maxGroupName:
		return &geminio.LimitError{What: "name of a group", Value: uint64(len(group)), Limit: maxGroupName, Err: geminio.ErrTooLarge}
	case !n.enter():
		return ErrClosed
	}
	defer n.leave()
	if !n.nc.IsConnected() {
		return ErrNoNATS
	}
	f, err := n.bucket.setMember(memberName(group, clientID), member)
	if err != nil {
		return unanswered(ctx, err)
	}
	select {
	case ack := <-f.Ok():
		n.view.setMember(group, clientID, member, ack.Sequence)
		return nil
	case err := <-f.Err():
		return unanswered(ctx, err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// setMember writes or removes the entry of a member, whatever its revision is.
func (b *bucket) setMember(key string, member bool) (jetstream.PubAckFuture, error) {
	if !member {
		return b.remove(key, 0)
	}
	return b.js.PublishAsync(b.subject(key), nil)
}

// memberName returns the key of a member.
func memberName(group string, client uint64) string {
	return groupKey + base64.RawURLEncoding.EncodeToString([]byte(group)) + "." + strconv.FormatUint(client, 10)
}

// parseMemberName returns the group and the client of a key.
func parseMemberName(key string) (group string, client uint64, ok bool) {
	rest, ok := strings.CutPrefix(key, groupKey)
	name, id, found := strings.Cut(rest, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(name)
	client, err2 := strconv.ParseUint(id, 10, 64)
	return string(decoded), client, ok && found && err == nil && err2 == nil
}

// Members returns the ids of the members of a group, in ascending order, as this node knows them. They
// need not be online.
func (n *Node) Members(group string) []uint64 { return n.view.members(group) }

// Broadcast is the outcome of [Node.Broadcast].
type Broadcast struct {
	Reached int // members that have got the message: see Node.Broadcast
	Failed  int // members that are online and have not got it, or may not have got it
}

// Broadcast publishes a message with a topic to all members of a group that are online, once over NATS or a
// direct connection to each node that has such members. By default the message is an at-most-once one, which
// has no acknowledgement: a member counts as reached when its node has queued the message, and a client that
// has no room for it for a second does not get it. With the option options.CnssAtLeastOnce a member counts as
// reached when it has acknowledged the message, and each node waits for that until ctx ends, without a
// deadline for ten seconds. opts can set custom bytes too, and the metadata of ctx is sent. The option Topic
// is ignored.
//
// The error has one error for each node that could not be reached; the members of other nodes have got the
// message all the same. A client that moves to another node during a broadcast may miss it. Broadcast is safe
// for concurrent use.
func (n *Node) Broadcast(ctx context.Context, group, topic string, data []byte, opts ...*options.NewMessageOptions) (Broadcast, error) {
	if ctx == nil {
		return Broadcast{}, errNilContext
	}
	if !n.enter() {
		return Broadcast{}, ErrClosed
	}
	defer n.leave()
	opt := options.MergeNewMessageOptions(opts...)
	r := request{kind: broadcastKind, name: topic, group: group, custom: opt.Custom, data: data, cnss: options.CnssAtMostOnce}
	if opt.Cnss != nil {
		r.cnss = *opt.Cnss
	}
	var (
		nodes sync.WaitGroup
		mu    sync.Mutex
		total Broadcast
		errs  []error
	)
	for _, node := range n.view.nodesOf(group) {
		nodes.Go(func() {
			b, err := n.broadcastAt(ctx, node, r)
			mu.Lock()
			defer mu.Unlock()
			total.Reached, total.Failed = total.Reached+b.Reached, total.Failed+b.Failed
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	nodes.Wait()
	return total, errors.Join(errs...)
}

// broadcastAt has a node publish a message to its members of a group.
func (n *Node) broadcastAt(ctx context.Context, node string, r request) (Broadcast, error) {
	if node == n.id {
		return n.broadcastHere(ctx, &r), nil
	}
	if !n.nc.IsConnected() {
		return Broadcast{}, ErrNoNATS
	}
	a, err := n.counters.request(func() (*answer, error) { return n.ask(ctx, node, &r) })
	if err == nil {
		err = a.err()
	}
	if err != nil {
		return Broadcast{}, err
	}
	p := parser{b: a.data}
	return Broadcast{Reached: int(p.uvarint()), Failed: int(p.uvarint())}, nil
}

// broadcastHere publishes a message to the members of a group that are connected to this node. A slow member
// delays no other one.
func (n *Node) broadcastHere(ctx context.Context, r *request) Broadcast {
	timeout := broadcastTimeout
	if r.cnss != options.CnssAtLeastOnce {
		timeout = slowMember
	} else if _, ok := ctx.Deadline(); ok {
		timeout = 0
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var members sync.WaitGroup
	var reached, failed atomic.Int64
	for _, id := range n.view.members(r.group) {
		end := n.locals.end(id)
		if end == nil {
			continue
		}
		members.Go(func() {
			if publishTo(ctx, end, r) == nil {
				reached.Add(1)
			} else {
				failed.Add(1)
			}
		})
	}
	members.Wait()
	return Broadcast{Reached: int(reached.Load()), Failed: int(failed.Load())}
}

// encode returns the bytes of a Broadcast for another node.
func (b Broadcast) encode() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(b.Reached)), uint64(b.Failed))
}

// groups are the members of each group, with the revision of their entry. A member that this node has
// removed stays with the value false until the watch brings its removal.
type groups map[string]map[uint64]membership

// membership is the entry of a member in the bucket.
type membership struct {
	rev    uint64
	member bool
}

// watchMember stores an entry that the watch has brought. The watch brings all entries in their order.
func (v *view) watchMember(group string, client uint64, member bool, rev uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.watched = rev
	if old := v.groups[group][client]; old.rev > rev {
		return // this node has written a newer entry, which the watch will bring
	}
	if member {
		v.putMember(group, client, membership{rev, true})
		return
	}
	delete(v.groups[group], client)
	if len(v.groups[group]) == 0 {
		delete(v.groups, group)
	}
}

// setMember stores an entry that this node has written, unless the watch has brought it already.
func (v *view) setMember(group string, client uint64, member bool, rev uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if rev > v.watched && rev > v.groups[group][client].rev {
		v.putMember(group, client, membership{rev, member})
	}
}

// putMember stores an entry. v.mu is held.
func (v *view) putMember(group string, client uint64, m membership) {
	if v.groups[group] == nil {
		v.groups[group] = make(map[uint64]membership)
	}
	v.groups[group][client] = m
}

// members returns the members of a group in ascending order.
func (v *view) members(group string) (ids []uint64) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for id, m := range v.groups[group] {
		if m.member {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// nodesOf returns the nodes that have members of a group.
func (v *view) nodesOf(group string) (ids []string) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	seen := make(map[string]bool)
	for id, m := range v.groups[group] {
		node := v.clients[id].node
		if m.member && !seen[node] && v.nodes[node] != nil {
			seen[node] = true
			ids = append(ids, node)
		}
	}
	return ids
}
