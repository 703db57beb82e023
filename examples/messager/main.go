// Command messager carries lines or files as messages of which each is
// acknowledged: the receiver answers a message when it has written it, and the
// sender publishes it again, over as many connections as it takes, until it has the
// answer.
//
// Start reading in send.go and receive.go, which are the two sides. This file has
// the command line.
package main

import (
	"os"
	"time"

	"github.com/singchia/geminio/examples/internal/cli"
)

const usage = `messager sends lines or files as messages, each of which is acknowledged.

  messager receive [FLAGS]             write what comes to stdout or a file
  messager send [FLAGS] [FILE...]      send the lines of stdin or of files

messager receive -h and messager send -h explain the flags.
`

const (
	program       = "messager"
	tokenVariable = "MESSAGER_TOKEN" // where the token is if it is in no file
)

// address is where the receiver listens and the sender connects by default.
const address = "127.0.0.1:1209"

// grace is how long a side that was told to stop waits for what is under way.
const grace = 5 * time.Second

func main() {
	os.Exit(cli.Commands("messager", usage, os.Args[1:], map[string]func(args []string) int{
		"receive": receiveMain,
		"send":    sendMain,
	}))
}
