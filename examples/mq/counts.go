package main

import (
	"sync"
	"time"
)

// counts counts by name. Its methods are safe for concurrent use.
type counts struct {
	mu sync.Mutex
	n  map[string]int64
}

func (c *counts) add(name string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int64)
	}
	if c.n[name] += n; c.n[name] == 0 {
		delete(c.n, name)
	}
}

func (c *counts) get(name string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[name]
}

// presence knows which clients are connected, of those who have something under way. Its
// methods are safe for concurrent use.
type presence struct {
	mu      sync.Mutex
	clients map[uint64]*visitor
}

// visitor is one client of a presence.
type visitor struct {
	serving     int       // connections that are served still
	connections int       // of those, the ones that stand
	since       time.Time // none stands
}

// come is called with each connection.
func (p *presence) come(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[id]
	if c == nil {
		if p.clients == nil {
			p.clients = make(map[uint64]*visitor)
		}
		c = &visitor{}
		p.clients[id] = c
	}
	c.serving++
	c.connections++
}

// leave is called when it is lost.
func (p *presence) leave(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[id]
	c.connections--
	c.since = time.Now()
}

// done is called when nothing of it is under way any more.
func (p *presence) done(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[id]
	if c.serving--; c.serving == 0 {
		delete(p.clients, id)
	}
}

// away returns for how long a client is not connected, 0 if it is.
func (p *presence) away(id uint64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[id]
	if c.connections > 0 {
		return 0
	}
	return time.Since(c.since)
}
