// Package cluster joins several servers to one, so that a program reaches a client on whatever server
// the client is. Its nodes find each other through NATS (github.com/nats-io/nats.go) with JetStream. It is
// a module of its own, so that the library does not depend on NATS.
//
//	nc, err := nats.Connect(urls, nats.MaxReconnects(-1))
//	node, err := cluster.Join(ctx, nc, cluster.Options{})
//	l := node.Listener(server.New(opts))              // its AcceptEnd attaches the End of a client
//	resp, err := node.Call(ctx, clientID, "reboot", data)
//	err = node.Publish(ctx, clientID, "news", data)   // the client has acknowledged it
//	got, err := node.Broadcast(ctx, "room-7", "said", data) // to the members of a group that are online
//	err = node.BroadcastStored(ctx, "room-7", "said", data) // to all members, also when they come back
//	stream, err := node.OpenStream(ctx, clientID)     // a geminio.Stream, also through another node
//
// Package embed has a NATS server for one process. The page docs/cluster.md states the semantics, also
// under failures, and the limits.
//
// # How a Node works
//
// A key-value bucket has an entry of each node, which is its lease, and an entry of each client, which
// names its node (bucket.go). The session watches the bucket and keeps the view of it up to date
// (session.go, view.go). The table of locals has the Ends of this node (locals.go), and the registrar
// writes their entries: it compares, for each client whose state may have changed, the table with the
// view, and writes the difference with a condition on the revision (registrar.go). So a lost entry, a late
// one and a changed one are all handled in the same way, and a new session begins with all clients.
//
// An operation looks into the table, and then into the view (remote.go). What it asks another node for is
// a request, which the other node executes with its local End (envelope.go, execute.go). Small requests
// take NATS (exchange.go), and large ones a direct connection between the two nodes (link.go), where each
// node proves that it has the key which its entry names (identity.go). A stream to a client of another node is
// a stream of the direct connection, which that node splices with one of the client's End (stream.go,
// splice.go). A broadcast is one request to each node that has members of the group (group.go).
//
// A stored message is in a stream of JetStream. Each node follows the sequences of the stream (store.go), reads
// the messages that its clients are to get (fetched.go), and has a position for each of these clients and their
// groups (delivery.go). From the positions it makes a cursor for each client, which the node that the client
// connects to next reads (cursor.go).
package cluster
