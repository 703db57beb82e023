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

// presence has the clients with operations under way, and tells which of them are
// connected. Its methods are safe for concurrent use.
type presence struct {
	mu      sync.Mutex
	clients map[uint64]*visitor
}

// visitor is one client of a presence.
type visitor struct {
	serving     int       // connections with operations under way
	connections int       // those that exist
	since       time.Time // the client is not connected since then
}

// come is called for each new connection.
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

// leave is called when a connection is lost.
func (p *presence) leave(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[id]
	c.connections--
	c.since = time.Now()
}

// done is called when a connection has no operations under way any more.
func (p *presence) done(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[id]
	if c.serving--; c.serving == 0 {
		delete(p.clients, id)
	}
}

// away returns for how long a client has not been connected, and 0 if it is connected.
func (p *presence) away(id uint64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clients[id]
	if c.connections > 0 {
		return 0
	}
	return time.Since(c.since)
}
