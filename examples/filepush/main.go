// Command filepush pushes a file over a geminio stream: the server opens a stream to each
// client that connects and copies the file into it, the client copies it out, and both
// compare checksums by a call. A client that was interrupted resumes the transfer.
//
// Start reading in push.go and receive.go, which are the two sides. protocol.go has their
// protocol, serve.go the server, part.go the incomplete file, and demo.go both sides in one
// process.
package main

import (
	"os"

	"github.com/singchia/geminio/examples/internal/cli"
)

const usage = `filepush pushes a file from a server to its clients and compares SHA-256 sums.

  filepush serve [FLAGS] PATH          push PATH to every client that connects
  filepush receive [FLAGS]             receive the file of a server
  filepush demo [FLAGS] [PATH]         both sides in this process, over TCP

filepush COMMAND -h explains the flags. The default command is filepush demo.
`

// address is where the server listens and clients connect by default.
const address = "127.0.0.1:1212"

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"demo"}
	}
	os.Exit(cli.Commands("filepush", usage, args, map[string]func(args []string) int{
		"serve":   serveMain,
		"receive": receiveMain,
		"demo":    demoMain,
	}))
}
