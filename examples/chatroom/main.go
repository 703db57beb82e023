// Command chatroom is a chat: a server with one room, and a client for the terminal
// that also works in a pipe. Names are unique, newcomers see the last lines, and a
// client whose connection is lost, or whose server dies, comes back by itself and
// keeps its name.
//
// Start reading in protocol.go, which has what the two sides say to each other. The
// server is in admission.go (who may come in), room.go (who hears what), mailbox.go (what
// waits for a slow client) and serve.go; the client in join.go and commands.go.
package main

import (
	"os"

	"github.com/singchia/geminio/examples/internal/cli"
)

const usage = `chatroom is a chat with a server and clients for the terminal.

  chatroom serve [FLAGS]               have a room for clients
  chatroom join [FLAGS] NAME           go there under that name

chatroom serve -h and chatroom join -h explain the flags.
`

// address is where the server listens and clients connect by default.
const address = "127.0.0.1:1210"

func main() {
	os.Exit(cli.Commands("chatroom", usage, os.Args[1:], map[string]func(args []string) int{
		"serve": serveMain,
		"join":  joinMain,
	}))
}
