package conn

import (
	"unicode/utf8"

	"github.com/singchia/geminio/packet"
)

// Methods are the methods that the handshake has registered.
type Methods struct {
	Own  []string // those of this side, with the peer
	Peer []string // those of the peer, with this side
}

// Methods returns the methods that the handshake has registered, until ForgetMethods is called. The
// caller of these two must not call them concurrently.
func (c *Conn) Methods() (m Methods) {
	if c.methods != nil {
		m = *c.methods
	}
	return m
}

// ForgetMethods frees the memory of Methods.
func (c *Conn) ForgetMethods() { c.methods = nil }

const (
	// methodsSpace bounds the methods that a handshake packet registers, in bytes: their names, and
	// methodSpace for each.
	methodsSpace = 4 << 10
	methodSpace  = 4
	// methodsBeside is the most bytes of meta and metadata that leave room for the methods.
	methodsBeside = 24 << 10
)

// offeredMethods returns the methods that this side registers with its handshake packet, not nil. The
// layer above registers the others.
func (c *Config) offeredMethods() []string {
	offered := []string{}
	room := methodsSpace
	if len(c.Meta)+len(c.Metadata) > methodsBeside {
		room = 0
	}
	for _, name := range c.Methods() {
		if size := len(name) + methodSpace; size <= room && len(name) <= packet.MaxHandshakeMethod && utf8.ValidString(name) {
			offered = append(offered, name)
			room -= size
		}
	}
	return offered
}
