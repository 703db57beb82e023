// Command fleet controls a fleet of devices: a server with an HTTP API for operators, and a device
// that reports readings and obeys commands. Devices show a token in the handshake, keep their ids,
// and survive restarts of the server. A reading is stored once, and acknowledged when it is stored.
//
// Start reading in protocol.go, which has what the two sides say to each other. The server is in
// admission.go (admits devices), serve.go (receives readings), store.go (keeps them) and admin.go
// (the HTTP API). The device is in device.go.
package main

import (
	"os"

	"github.com/singchia/geminio/examples/internal/cli"
)

const usage = `fleet controls devices.

  fleet serve [FLAGS]               serve devices, and operators over HTTP
  fleet device [FLAGS] NAME         be the device of that name

fleet serve -h and fleet device -h explain the flags.
`

// address and adminAddress are where the server listens by default.
const (
	address      = "127.0.0.1:1211"
	adminAddress = "127.0.0.1:1212"
)

func main() {
	os.Exit(cli.Commands("fleet", usage, os.Args[1:], map[string]func(args []string) int{
		"serve":  serveMain,
		"device": deviceMain,
	}))
}
