package main

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// held is a message that is with a consumer of this broker.
type held struct {
	key      string // topic/group
	sequence uint64 // of the message in its topic
	order    uint64 // counts what the pusher has pushed

	m *nats.Msg // its last delivery by the storage; guarded by holdings.mu
}

// holdings are the messages that are with the consumers of this broker. The storage delivers
// a message again whose time for acknowledging has run out. If it is with a consumer still,
// that delivery takes the place of the former one, and no second consumer gets the message.
// The methods are safe for concurrent use.
type holdings struct {
	mu  sync.Mutex
	all map[string]map[uint64]*held // by key and sequence
}

// hold notes a delivery of a message that is to go to a consumer. It returns nil if the
// message is with one already.
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

// release notes that a message is no longer with its consumer, and returns its last delivery,
// by which the storage is to be told what became of it.
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

// extensions is how often the storage is told within -ack-wait that a message is still with
// its consumer.
const extensions = 4

// extend tells the storage that the consumer has its messages still, each so often that their
// time for acknowledging does not run out, until done is closed.
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
