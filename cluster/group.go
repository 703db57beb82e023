package cluster

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
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
	// maxJoining bounds the memberships that are written at a time. The client of NATS refuses all writes, also
	// those of the lease, while 4000 wait for their answers.
	maxJoining = 1024
)

// errNoGroup refuses an empty name of a group.
var errNoGroup = errors.New("cluster: the name of the group is empty")

// JoinGroup makes a client a member of a group, and returns when the bucket has stored that. The client
// stays a member until LeaveGroup, also while it is offline or at another node. For a member JoinGroup
// changes nothing: the client still gets the messages of BroadcastStored that it has not got yet. group is
// the name of the group, of 1 to 128 bytes. This node knows the member at once, and the others as soon as
// their watch has brought it. The error matches [ErrNoNATS] if NATS does not answer. JoinGroup is safe for
// concurrent use.
func (n *Node) JoinGroup(ctx context.Context, clientID uint64, group string) error {
	return n.setMember(ctx, clientID, group, true)
}

// LeaveGroup ends the membership of a client in a group, and drops the messages of BroadcastStored that the
// client has not got. In all else it is like JoinGroup.
func (n *Node) LeaveGroup(ctx context.Context, clientID uint64, group string) error {
	return n.setMember(ctx, clientID, group, false)
}

// setMember writes or removes the entry of a member.
func (n *Node) setMember(ctx context.Context, clientID uint64, group string, member bool) error {
	if err := n.enterGroup(ctx, group); err != nil {
		return err
	}
	defer n.leave()
	if !n.nc.IsConnected() {
		return ErrNoNATS
	}
	select {
	case n.joining <- struct{}{}:
		defer func() { <-n.joining }()
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ctx.Done():
		return ErrClosed
	}
	var m membership
	var err error
	if member {
		m, err = n.addMember(ctx, clientID, group)
	} else {
		m.rev, err = await(ctx, func() (jetstream.PubAckFuture, error) { return n.bucket.remove(memberName(group, clientID), 0) })
	}
	if err != nil && n.ctx.Err() != nil && ctx.Err() == nil {
		return errInterruptedByClose
	}
	if err != nil {
		return unanswered(ctx, err)
	}
	n.view.setMember(group, clientID, m)
	if !member && n.store.isThere() && len(n.view.groupsOf(clientID)) == 0 {
		n.store.cursors.remove(cursorName(clientID), 0) // only saves space: a later membership does not use it
	}
	return nil
}

// enterGroup is enter for an operation with a group. It refuses a nil context and a wrong name.
func (n *Node) enterGroup(ctx context.Context, group string) error {
	switch {
	case ctx == nil:
		return errNilContext
	case group == "":
		return errNoGroup
	case len(group) > maxGroupName:
		return &geminio.LimitError{What: "name of a group", Value: uint64(len(group)), Limit: maxGroupName, Err: geminio.ErrTooLarge}
	case !n.enter():
		return ErrClosed
	}
	return nil
}

// addMember writes the entry of a member. A client that is a member already keeps the beginning of its
// membership, so each write names the revision that it replaces.
func (n *Node) addMember(ctx context.Context, clientID uint64, group string) (membership, error) {
	key := memberName(group, clientID)
	old := n.view.membership(group, clientID)
	for {
		m := membership{member: true, joined: old.joined, origin: old.origin}
		if !old.member {
			last, err := n.store.last(ctx)
			if err != nil {
				return m, err
			}
			m.joined, m.origin = last, 0
		}
		rev, err := await(ctx, func() (jetstream.PubAckFuture, error) {
			return n.bucket.js.PublishMsgAsync(&nats.Msg{Subject: n.bucket.subject(key), Data: m.value()},
				jetstream.WithExpectLastSequencePerSubject(old.rev))
		})
		switch {
		case err == nil:
			m.rev, m.origin = rev, cmp.Or(m.origin, rev)
			return m, nil
		case !isConflict(err):
			return m, err
		}
		read, err := n.bucket.read(ctx, key)
		if err != nil {
			return m, err
		}
		if old = (membership{}); read != nil {
			old = newMembership(read.Data, !isMarker(read.Header), read.Sequence)
		}
	}
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
// deadline for ten seconds. So one member that is interrupted or does not receive lets Broadcast last that long:
// give ctx a deadline that the program can wait for. The other nodes stop up to a second earlier, after nine
// tenths of the time, so that Broadcast learns the outcome; if ctx is canceled, it does not. opts can set
// custom bytes too, and the metadata of ctx is sent. The option Topic is ignored.
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
	for _, node := range n.view.nodesOf(group, n.id) {
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

// BroadcastStored stores a message with a topic for the members of a group, also for those that are offline,
// and returns when a JetStream stream has stored it. Each client that is a member at that moment gets the
// message as soon as it is connected to any node, and until it has acknowledged it (Message.Done); an answer
// by Message.Error counts as an acknowledgement. A member gets the messages of a group in the order in which
// they were stored. It may get a message twice: after a connection or a node was lost, or if BroadcastStored
// was called again because its outcome was not known. Messages that exceed [Options.StoreMaxAge] or
// [Options.StoreMaxBytes] are removed, also if members have not got them: Stats.Missed counts that.
//
// opts can set custom bytes, and the metadata of ctx is sent. Other options are ignored. The message has to
// fit into a message of the NATS server, which is 1 MiB by default: if it does not, the error is a
// [*geminio.LimitError] that matches geminio.ErrTooLarge. The error matches [ErrNoNATS] if NATS or JetStream
// does not answer; if the message may have been stored, it is a [*geminio.InterruptedError] too. It is
// ctx.Err() if ctx ends first; without a deadline BroadcastStored waits for a limited time. BroadcastStored
// is safe for concurrent use.
func (n *Node) BroadcastStored(ctx context.Context, group, topic string, data []byte, opts ...*options.NewMessageOptions) error {
	if err := n.enterGroup(ctx, group); err != nil {
		return err
	}
	defer n.leave()
	md, err := outgoing(ctx)
	if err != nil {
		return err
	}
	opt := options.MergeNewMessageOptions(opts...)
	r := request{kind: broadcastKind, name: topic, group: group, custom: opt.Custom, md: md, cnss: options.CnssAtLeastOnce}
	header := r.appendHeader(nil)
	if !n.nc.IsConnected() {
		return ErrNoNATS
	}
	if size, limit := len(header)+len(data)+frameOverhead+maxStoreHeaders, n.nc.MaxPayload(); int64(size) > limit {
		return &geminio.LimitError{What: "message for the store", Value: uint64(size), Limit: uint64(limit), Err: geminio.ErrTooLarge}
	}
	if err := n.store.publish(ctx, group, frame(header, data)); err != nil {
		return notStored(ctx, err)
	}
	n.counters.stored.Add(1)
	return nil
}

// notStored returns the error of BroadcastStored after an error of JetStream.
func notStored(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e, ok := errors.AsType[*jetstream.APIError](err); ok { // JetStream has refused it
		return fmt.Errorf("cluster: the message was not stored: %w", e)
	}
	return fmt.Errorf("%w: %w", noNATS(true), err)
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

// groups are the members of each group. A member that this node has removed stays, without member, until
// the watch brings its removal.
type groups map[string]map[uint64]membership

// membership is the entry of a member in the bucket. Its value is joined as a number and, if it is not the
// first entry of the membership, a space and origin.
type membership struct {
	member bool
	rev    uint64 // the revision of the entry
	joined uint64 // the last sequence of the store when the membership began
	origin uint64 // the revision of the first entry of the membership
}

// newMembership returns the membership of an entry. Without put the entry is a marker.
func newMembership(value []byte, put bool, rev uint64) membership {
	m := membership{member: put, rev: rev, origin: rev}
	if put {
		joined, origin, _ := strings.Cut(string(value), " ")
		m.joined, _ = strconv.ParseUint(joined, 10, 64)
		if first, err := strconv.ParseUint(origin, 10, 64); err == nil {
			m.origin = first
		}
	}
	return m
}

// value returns the value of the entry. origin is 0 for the first entry of a membership.
func (m membership) value() []byte {
	if m.origin == 0 {
		return strconv.AppendUint(nil, m.joined, 10)
	}
	return fmt.Appendf(nil, "%d %d", m.joined, m.origin)
}

// watchMember stores an entry that the watch has brought. The watch brings all entries in their order.
func (v *view) watchMember(group string, client uint64, m membership) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.watched = m.rev
	if v.groups[group][client].rev > m.rev {
		return // this node has written a newer entry, which the watch will bring
	}
	if v.putMember(group, client, m); m.member {
		return
	}
	delete(v.groups[group], client)
	if len(v.groups[group]) == 0 {
		delete(v.groups, group)
	}
}

// setMember stores an entry that this node has written, unless the watch has brought it already.
func (v *view) setMember(group string, client uint64, m membership) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if m.rev > v.watched && m.rev > v.groups[group][client].rev {
		v.putMember(group, client, m)
	}
}

// putMember stores an entry. v.mu is held.
func (v *view) putMember(group string, client uint64, m membership) {
	if v.groups[group] == nil {
		v.groups[group] = make(map[uint64]membership)
	}
	was := v.groups[group][client].member
	v.groups[group][client] = m
	switch {
	case m.member && !was:
		v.joined[client] = append(v.joined[client], group)
	case was && !m.member:
		left := slices.DeleteFunc(v.joined[client], func(g string) bool { return g == group })
		if v.joined[client] = left; len(left) == 0 {
			delete(v.joined, client)
		}
	}
}

// membership returns the membership of a client in a group.
func (v *view) membership(group string, client uint64) membership {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.groups[group][client]
}

// memberships returns the memberships of a client by group, and the revision up to which the watch has
// brought all of them.
func (v *view) memberships(client uint64) (all map[string]membership, watched uint64) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all = make(map[string]membership, len(v.joined[client]))
	for _, group := range v.joined[client] {
		all[group] = v.groups[group][client]
	}
	return all, v.watched
}

// hasMembers reports whether a group has members.
func (v *view) hasMembers(group string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.groups[group]) > 0
}

// groupsOf returns the groups of a client.
func (v *view) groupsOf(client uint64) []string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.Clone(v.joined[client])
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

// nodesOf returns self, which may have members whose entry is not written yet, and the other nodes that have
// members of a group.
func (v *view) nodesOf(group, self string) (ids []string) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	seen := map[string]bool{self: true}
	ids = append(ids, self)
	for id, m := range v.groups[group] {
		node := v.clients[id].node
		if m.member && !seen[node] && v.nodes[node] != nil {
			seen[node] = true
			ids = append(ids, node)
		}
	}
	return ids
}
