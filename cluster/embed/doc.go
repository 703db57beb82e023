// Package embed runs a NATS server with JetStream in this process, for a cluster without NATS servers of
// its own, for development, and for tests. It has the few options that package cluster needs; a program
// that needs others starts a server of github.com/nats-io/nats-server itself.
//
//	s, err := embed.Start(ctx, embed.Options{Dir: "/var/lib/gateway"})
//	nc, err := s.Connect()
//	node, err := cluster.Join(ctx, nc, cluster.Options{})
package embed
