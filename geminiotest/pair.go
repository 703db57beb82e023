package geminiotest

import (
	"testing"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/internal/endpair"
	"github.com/singchia/geminio/server"
)

// PairOptions are the options of [Pair]. A nil field stands for the default.
type PairOptions struct {
	// Client has the options of the client's End.
	Client *client.EndOptions
	// Server has the options of the server's End.
	Server *server.EndOptions
	// Network carries the connection, so that its methods can delay or cut it. By default the
	// Pair has a Network of its own.
	Network *Network
}

// Pair returns the Ends of a client and of a server with a connection in memory between them.
// Both are plain Ends: they end when their connection is cut. The Ends are closed when the test
// ends. Pair fails the test if the Ends cannot be made, for instance because a delegate refuses
// the client.
//
// Nil options are skipped, and the fields of later ones take precedence.
func Pair(t testing.TB, opts ...*PairOptions) (client, server geminio.End) {
	t.Helper()
	var o PairOptions
	for _, opt := range opts {
		if opt != nil {
			o.merge(opt)
		}
	}
	if o.Network == nil {
		o.Network = NewNetwork(t)
	}
	l := o.Network.connect()
	client, server, err := endpair.Join(l.Near, l.Far, o.Client, o.Server)
	if err != nil {
		t.Fatalf("geminiotest: %v", err)
	}
	t.Cleanup(func() {
		if l.Held() {
			l.Cut() // otherwise Close waits for the peer, for the linger time
		}
		endpair.Close(client, server)
	})
	return client, server
}

// merge replaces the fields of o by those of opt that are not nil.
func (o *PairOptions) merge(opt *PairOptions) {
	if opt.Client != nil {
		o.Client = opt.Client
	}
	if opt.Server != nil {
		o.Server = opt.Server
	}
	if opt.Network != nil {
		o.Network = opt.Network
	}
}
