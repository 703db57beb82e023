// Command messager sends lines or files as acknowledged messages: the receiver answers a
// message after it has written it, and the sender publishes it again, over any number of
// connections, until it has the answer.
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

  messager receive [FLAGS]             write messages to stdout or a file
  messager send [FLAGS] [FILE...]      send the lines of stdin or of files

messager receive -h and messager send -h explain the flags.
`

const (
	program       = "messager"
	tokenVariable = "MESSAGER_TOKEN" // the environment variable with the token, if the token is in no file
)

// address is where the receiver listens and the sender connects by default.
const address = "127.0.0.1:1209"

// grace is how long a side waits for messages under way after a signal.
const grace = 5 * time.Second

func main() {
	os.Exit(cli.Commands("messager", usage, os.Args[1:], map[string]func(args []string) int{
		"receive": receiveMain,
		"send":    sendMain,
	}))
}
