package main

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// held is a message that a consumer of this broker has.
type held struct {
	key      string // topic/group
	sequence uint64 // the number of the message in its topic
	order    uint64 // the order of pushing

	m *nats.Msg // the last delivery by the storage; guarded by holdings.mu
}

// holdings are the messages that consumers of this broker have. The storage delivers a
// message again if its time for the acknowledgement has passed. If a consumer still has
// the message, the new delivery replaces the old one, and no second consumer gets the
// message. The methods are safe for concurrent use.
type holdings struct {
	mu  sync.Mutex
	all map[string]map[uint64]*held // by key and sequence
}

// hold notes a delivery of a message to a consumer. It returns nil if a consumer already
// has the message.
func (hs *holdings) hold(key string, sequence uint64, m *nats.Msg) *held {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if h := hs.all[key][sequence]; h != nil {
		h.m = m
		return nil
	}
	if hs.all == nil {
		hs.all = make(map[string]map[uint64]*held)
	}
	if hs.all[key] == nil {
		hs.all[key] = make(map[uint64]*held)
	}
	h := &held{key: key, sequence: sequence, m: m}
	hs.all[key][sequence] = h
	return h
}

// release notes that a consumer no longer has a message, and returns the last delivery of
// the message, by which the broker acknowledges it.
func (hs *holdings) release(h *held) *nats.Msg {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	delete(hs.all[h.key], h.sequence)
	if len(hs.all[h.key]) == 0 {
		delete(hs.all, h.key)
	}
	return h.m
}

// last returns the last delivery of a message.
func (hs *holdings) last(h *held) *nats.Msg {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return h.m
}

// extensions is how often within -ack-wait the broker extends the time for the
// acknowledgement of a message.
const extensions = 4

// extend extends the time for the acknowledgement of the messages that consumers have,
// until done is closed.
func (p *pusher) extend(done <-chan struct{}) {
	ticker := time.NewTicker(max(p.b.queues.ackWait/extensions, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-done:
			return
		}
		for _, h := range p.outstanding() {
			if err := p.b.held.last(h).InProgress(); err != nil {
				p.log.Debug("the storage does not hear that a message is in progress", "topic", p.Topic, "group", p.Group, "err", err)
				break
			}
		}
	}
}
