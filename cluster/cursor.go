package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// cursorDelay is the time between two writes of the cursor of a client. A client gets the messages that it
// has acknowledged in this time again, if its node is killed.
const cursorDelay = 10 * time.Second

// cursor says which messages a client does not get again: those up to seq, of the groups whose membership
// has begun at a revision of the bucket up to rev.
type cursor struct{ seq, rev uint64 }

// cursorName returns the key of the cursor of a client.
func cursorName(client uint64) string { return strconv.FormatUint(client, 10) }

// value returns the value of the entry.
func (c cursor) value() []byte { return fmt.Appendf(nil, "%d %d", c.seq, c.rev) }

// parseCursor returns the cursor of an entry. An entry that is not valid is one without messages.
func parseCursor(value []byte) (c cursor) {
	seq, rev, _ := strings.Cut(string(value), " ")
	s, err := strconv.ParseUint(seq, 10, 64)
	r, err2 := strconv.ParseUint(rev, 10, 64)
	if err == nil && err2 == nil {
		c = cursor{s, r}
	}
	return c
}

// load reads the cursor of a client, unless that was done.
func (t *deliveries) load(d *delivery) error {
	d.mu.Lock()
	loaded := d.loaded
	d.mu.Unlock()
	if loaded {
		return nil
	}
	ctx, cancel := context.WithTimeout(t.n.ctx, t.n.bucket.patience)
	defer cancel()
	m, err := t.n.store.cursors.read(ctx, cursorName(d.client))
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.loaded = true; m != nil && !isMarker(m.Header) {
		d.start = parseCursor(m.Data)
	}
	return nil
}

// keep writes the cursors of clients until the Node is closed.
func (t *deliveries) keep() {
	ticker := time.NewTicker(cursorDelay)
	defer ticker.Stop()
	for {
		select {
		case <-t.n.ctx.Done():
			return
		case <-ticker.C:
			t.write(t.n.ctx, true)
		case <-t.leave:
			t.write(t.n.ctx, false)
		}
	}
}

// write writes the cursors that have changed: those of clients that have left, and with everything those of the
// others too. It writes at most maxBatch at a time.
func (t *deliveries) write(ctx context.Context, everything bool) {
	if _, tail := t.n.store.position(""); tail == 0 || !t.n.nc.IsConnected() {
		return // the cursors would cover nothing, or cannot be written
	}
	t.mu.Lock()
	all := slices.Collect(maps.Values(t.left))
	if everything {
		all = slices.AppendSeq(all, maps.Values(t.all))
	}
	t.mu.Unlock()
	for batch := range slices.Chunk(all, maxBatch) {
		var writing sync.WaitGroup
		for _, d := range batch {
			if !d.isDirty() {
				continue
			}
			c := t.of(d)
			writing.Go(func() {
				m := &nats.Msg{Subject: t.n.store.cursors.subject(cursorName(d.client)), Data: c.value()}
				if _, err := await(ctx, func() (jetstream.PubAckFuture, error) { return t.n.bucket.js.PublishMsgAsync(m) }); err != nil {
					d.mu.Lock()
					d.dirty = true
					d.mu.Unlock()
				}
			})
		}
		writing.Wait()
		t.forget(batch)
	}
}

// forget drops deliveries whose client has left, and whose cursor was written.
func (t *deliveries) forget(written []*delivery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range written {
		if !d.isDirty() && t.left[d.client] == d {
			delete(t.left, d.client)
		}
	}
}

// isDirty reports whether a message was answered since the cursor was written.
func (d *delivery) isDirty() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dirty
}

// of returns the cursor of a client. It notes that the cursor is written.
func (t *deliveries) of(d *delivery) cursor {
	_, tail := t.n.store.position("") // first: what follows may know more
	memberships, watched := t.n.view.memberships(d.client)
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.positions, func(group string, p *position) bool { return p.origin != memberships[group].origin })
	c := cursor{tail, watched}
	for group, m := range memberships {
		acked := d.begin(m)
		if p := d.positions[group]; p != nil {
			acked = p.acked
		}
		if known, _ := t.n.store.position(group); known.last > acked {
			c.seq = min(c.seq, acked)
		}
	}
	d.dirty = false
	return c
}
