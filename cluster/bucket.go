package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unique"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/singchia/geminio/clusterinfo"
)

// The keys of the bucket:
//
//	n.<node id>     a nodeRecord in JSON, which the bucket drops after the lease
//	c.<client id>   the id of the node that has the client, a space, the time at which the
//	                connection was attached, in milliseconds since 1970, a space, and the ClientState
//	                as a number
//	g.<group>.<client id>
//	                a membership: the client is a member. The name of the group is in base64.
//	s               an empty value: the stream of stored messages exists
//
// All nodes watch all of these keys. A watch of some keys of a bucket takes NATS seconds to begin when the
// others lie between them, so the cursors of clients have a bucket of their own.
const (
	nodeKey   = "n."
	clientKey = "c."
	groupKey  = "g."
)

// markerTTL is how long the bucket keeps the marker of a removed key, so that nodes whose watch was
// interrupted still learn of the removal.
const markerTTL = time.Minute

// readTimeout is how long an answer to a read may take before the read is tried again.
const readTimeout = time.Second

// nodeRecord is the entry of a node in the bucket.
type nodeRecord struct {
	Host    string `json:"host,omitempty"`
	Addr    string `json:"addr"`              // where it accepts direct connections
	Key     string `json:"key"`               // the fingerprint of its TLS key
	Leaving bool   `json:"leaving,omitempty"` // it takes no more work

	Lease int              `json:"lease"`         // in seconds
	Load  clusterinfo.Load `json:"load,omitzero"` // when the lease was renewed
}

// bucket writes and reads the key-value bucket of a cluster. It is safe for concurrent use.
type bucket struct {
	js       jetstream.JetStream
	name     string
	patience time.Duration // how long JetStream may take for an answer; shorter than a lease
	lifetime time.Duration // of a lease
	config   jetstream.KeyValueConfig
	stream   atomic.Pointer[jetstream.Stream] // of the bucket; nil until it was found
}

// newBucket returns the bucket of a cluster. It does not use the connection yet.
func newBucket(nc *nats.Conn, o *Options) (*bucket, error) {
	patience := max(o.Lease/5, time.Second)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(patience), jetstream.WithDefaultTimeout(patience))
	if err != nil {
		return nil, err
	}
	return &bucket{js: js, name: o.Name, patience: patience, lifetime: o.Lease, config: jetstream.KeyValueConfig{
		Bucket: o.Name, Description: "nodes and clients of a geminio cluster",
		History: 1, Replicas: o.Replicas, LimitMarkerTTL: markerTTL,
	}}, nil
}

// cursors returns the bucket of the cursors of a cluster, whose keys are the ids of the clients. The node of a
// client reads and writes its cursor, and no node watches them.
func (b *bucket) cursors() *bucket {
	c := &bucket{js: b.js, name: b.name + "_cursors", patience: b.patience, lifetime: b.lifetime, config: b.config}
	c.config.Bucket, c.config.Description = c.name, "progress of the clients of a geminio cluster in the stored messages"
	return c
}

// open returns the bucket, which it creates if it does not exist.
func (b *bucket) open(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := b.js.KeyValue(ctx, b.name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		if kv, err = b.js.CreateKeyValue(ctx, b.config); errors.Is(err, jetstream.ErrBucketExists) {
			kv, err = b.js.KeyValue(ctx, b.name) // another node has created it, with other options
		}
	}
	if errors.Is(err, nats.ErrNoResponders) {
		err = fmt.Errorf("JetStream is not available: %w", err)
	}
	return kv, err
}

// subject returns the subject of a key.
func (b *bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// lease writes the entry of a node, for the time of the lease.
func (b *bucket) lease(id string, r nodeRecord, ttl time.Duration) (jetstream.PubAckFuture, error) {
	r.Lease = int(ttl / time.Second)
	value, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return b.js.PublishMsgAsync(&nats.Msg{Subject: b.subject(nodeKey + id), Data: value}, jetstream.WithMsgTTL(ttl),
		jetstream.WithRetryAttempts(0)) // the next renewal is the repetition
}

// put writes the entry of a client, if the last revision of its key is rev.
func (b *bucket) put(client uint64, r record, rev uint64) (jetstream.PubAckFuture, error) {
	value := fmt.Appendf(nil, "%s %d %d", r.node, r.since.UnixMilli(), r.state)
	m := &nats.Msg{Subject: b.subject(clientName(client)), Data: value}
	return b.js.PublishMsgAsync(m, jetstream.WithExpectLastSequencePerSubject(rev))
}

// goodbye is the data of the marker of a node that was closed. That of a lease which has ended has no data.
const goodbye = "closed"

// close removes the entry of a node that is closed.
func (b *bucket) close(id string) (jetstream.PubAckFuture, error) {
	return b.removeWith(nodeKey+id, 0, []byte(goodbye))
}

// remove removes a key, if its last revision is rev. It leaves a marker for markerTTL.
func (b *bucket) remove(key string, rev uint64) (jetstream.PubAckFuture, error) {
	return b.removeWith(key, rev, nil)
}

// removeWith is remove with the data of the marker.
func (b *bucket) removeWith(key string, rev uint64, data []byte) (jetstream.PubAckFuture, error) {
	m := &nats.Msg{Subject: b.subject(key), Data: data, Header: nats.Header{
		"KV-Operation":      {"PURGE"},
		jetstream.MsgRollup: {jetstream.MsgRollupSubject},
	}}
	opts := []jetstream.PublishOpt{jetstream.WithMsgTTL(markerTTL)}
	if rev > 0 {
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(rev))
	}
	return b.js.PublishMsgAsync(m, opts...)
}

// await makes a write, waits for it, and returns its revision.
func await(ctx context.Context, write func() (jetstream.PubAckFuture, error)) (uint64, error) {
	f, err := write()
	if err != nil {
		return 0, err
	}
	select {
	case ack := <-f.Ok():
		return ack.Sequence, nil
	case err := <-f.Err():
		return 0, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// readClient returns the last entry of a client, also if it is a marker. The entry has the revision
// 0 if there is none.
func (b *bucket) readClient(ctx context.Context, client uint64) (record, error) {
	m, err := b.read(ctx, clientName(client))
	if err != nil || m == nil {
		return record{}, err
	}
	return newRecord(m.Data, !isMarker(m.Header), m.Sequence, m.Time), nil
}

// readNode returns a node that is alive, or nil.
func (b *bucket) readNode(ctx context.Context, id string) (*peer, error) {
	if !validName.MatchString(id) {
		return nil, nil
	}
	m, err := b.read(ctx, nodeKey+id)
	if err != nil || m == nil || isMarker(m.Header) {
		return nil, err
	}
	return parseNode(id, m.Data)
}

// read returns the last message of a key, or nil if there is none. It asks again if an answer does not come,
// at most for a lease: NATS loses requests when it loses a server.
func (b *bucket) read(ctx context.Context, key string) (m *jetstream.RawStreamMsg, err error) {
	for began := time.Now(); time.Since(began) < b.lifetime; {
		attempt, cancel := context.WithTimeout(ctx, readTimeout)
		m, err = b.readOnce(attempt, key)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return m, err
		}
	}
	return nil, errUnanswered
}

// errUnanswered is the error of a request that JetStream does not answer.
var errUnanswered = errors.New("JetStream does not answer")

// readOnce is read without repetition. Each server with a replica answers, also while they elect a leader.
func (b *bucket) readOnce(ctx context.Context, key string) (*jetstream.RawStreamMsg, error) {
	s, err := b.openStream(ctx)
	if err != nil {
		return nil, err
	}
	m, err := s.GetLastMsgForSubject(ctx, b.subject(key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return m, err
}

// openStream returns the stream of the bucket. Only the first success asks NATS, which has to have a leader
// for that.
func (b *bucket) openStream(ctx context.Context) (jetstream.Stream, error) {
	if s := b.stream.Load(); s != nil {
		return *s, nil
	}
	s, err := b.js.Stream(ctx, "KV_"+b.name)
	if err == nil {
		b.stream.Store(&s)
	}
	return s, err
}

// isMarker reports whether a message with a header says that the key was removed.
func isMarker(h nats.Header) bool {
	return h.Get("KV-Operation") != "" || h.Get(jetstream.MarkerReasonHeader) != ""
}

// isConflict reports whether a write has failed because the last revision of the key is another one.
func isConflict(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		e.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// clientName returns the key of a client.
func clientName(id uint64) string { return clientKey + strconv.FormatUint(id, 10) }

// parseClientName returns the id of a client by its key.
func parseClientName(key string) (id uint64, ok bool) {
	s, ok := strings.CutPrefix(key, clientKey)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(s, 10, 64)
	return id, err == nil
}

// newRecord returns the record for an entry. Without put the entry is a marker. An entry that is not
// valid counts as one.
func newRecord(value []byte, put bool, rev uint64, written time.Time) record {
	r := record{rev: rev, written: written}
	fields := strings.Split(string(value), " ")
	if !put || len(fields) != 3 || !validName.MatchString(fields[0]) {
		return r
	}
	millis, err := strconv.ParseInt(fields[1], 10, 64)
	state, err2 := strconv.ParseUint(fields[2], 10, 8)
	if err == nil && err2 == nil {
		node := unique.Make(fields[0]).Value() // the entries of a node share the memory of its id
		r.node, r.since, r.state = node, time.UnixMilli(millis), ClientState(state)
	}
	return r
}

// parseNode returns the node of an entry.
func parseNode(id string, value []byte) (*peer, error) {
	var r nodeRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("cluster: entry of node %.64q: %w", id, err)
	}
	return &peer{
		id: id, host: r.Host, addr: r.Addr, key: r.Key, leaving: r.Leaving,
		lease: time.Duration(r.Lease) * time.Second, renewed: time.Now(), load: r.Load,
	}, nil
}
