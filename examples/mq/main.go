// Command mq is a message queue: a broker, and producers and consumers that talk to it.
// Messages have topics, and consumers of a topic are in groups: each message goes to
// every group, and to one consumer of the group. Messages are kept until every group has
// acknowledged them, also if brokers and consumers fail.
//
// Start reading in protocol.go, which has the protocol. The broker is in broker.go
// (connections), intake.go (messages from producers), push.go (messages to consumers),
// queue.go (topics and groups) and engine.go (the storage, which is NATS JetStream); the
// clients are in produce.go, consume.go and admin.go.
package main

import (
	"os"

	"github.com/singchia/geminio/examples/internal/cli"
)

const usage = `mq is a message queue.

  mq broker [FLAGS]                    keep messages, take and hand them out
  mq produce [FLAGS] -topic T          publish the lines of stdin
  mq consume [FLAGS] -topic T          write the messages of a topic to stdout or a file
  mq stats [FLAGS] [TOPIC...]          show how much is in the queues
  mq drop [FLAGS] -topic T -group G    forget a group that nobody consumes for any more

mq broker -h and so on explain the flags.
`

// address is where the broker listens and the others connect by default.
const address = "127.0.0.1:1211"

func main() {
	os.Exit(cli.Commands("mq", usage, os.Args[1:], map[string]func(args []string) int{
		"broker":  brokerMain,
		"produce": produceMain,
		"consume": consumeMain,
		"stats":   statsMain,
		"drop":    dropMain,
	}))
}
