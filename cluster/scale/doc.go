// Command scale measures a cluster of three nodes and three NATS servers, each a process of its own, with very
// many clients in another process: memory, traffic of NATS, the time until presence is right after mass joins,
// the kill of a node and a rolling restart, a stream whose reader stalls, and what the bucket stores in a
// second. It fails if presence is wrong at the end, if a call reaches another client, or if a node holds more
// of a stream than its windows. It never fails because of a time.
//
//	cd cluster && go run ./scale -clients 10000
//
// It prints tables in Markdown, which docs/cluster.md contains.
package main
