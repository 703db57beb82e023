// Command chatroom is a chat: a server with one room, and a client for the terminal
// that also works in a pipe. Names are unique, a new client gets the last lines, and a
// client whose connection is lost, or whose server is killed, reconnects and
// keeps its name.
//
// Start reading in protocol.go, which has the messages of the two sides. The
// server is in admission.go (admits clients), room.go (members and lines), mailbox.go
// (events for a slow client) and serve.go; the client is in join.go and commands.go.
package main

import (
	"os"

	"github.com/singchia/geminio/examples/internal/cli"
)

const usage = `chatroom is a chat with a server and clients for the terminal.

  chatroom serve [FLAGS]               serve a room
  chatroom join [FLAGS] NAME           join the room under that name

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
