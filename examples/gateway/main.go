// Command gateway connects many devices to several servers, the nodes, and lets operators reach each
// device over HTTP through any node. The nodes are a cluster on NATS (module cluster).
//
// Start reading in node.go, which has one node. What it needs is in nats.go (the connection to NATS, or
// a NATS server within the node), admission.go (admits devices), api.go (the HTTP API) and failure.go (its
// errors). The simulated devices are in devices.go, and demo.go starts all of it on one machine.
package main

import (
	"os"

	"github.com/singchia/geminio/examples/internal/cli"
)

const usage = `gateway connects many devices to several nodes.

  gateway node [FLAGS]              be a node: serve devices, and operators over HTTP
  gateway devices [FLAGS]           be some simulated devices
  gateway demo [FLAGS]              start three nodes and a thousand devices on this machine

gateway node -h, gateway devices -h and gateway demo -h explain the flags.
`

func main() {
	os.Exit(cli.Commands("gateway", usage, os.Args[1:], map[string]func(args []string) int{
		"node":    nodeMain,
		"devices": devicesMain,
		"demo":    demoMain,
	}))
}
