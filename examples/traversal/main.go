// Command traversal makes services reachable on machines that cannot be dialled. A node dials the
// server, and the server opens a stream to the node for every TCP connection that it accepts.
//
// Start reading in server.go and node.go, which are the two sides; greeting.go has the
// handshake between them. This file has the flags.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/tunnel"
)

const usage = `traversal makes services reachable whose machines cannot be dialled.

  traversal server -listen ADDR -token-file FILE -map ADDR=NODE/SERVICE ...
        accepts nodes at -listen; carries TCP connections that it accepts at the
        ADDR of a -map to that service of that node
  traversal node   -connect ADDR -token-file FILE -name NODE -service SERVICE=ADDR ...
        dials the server; dials TCP to the ADDR of a -service when it is asked to

Both know the token, which is the first line of FILE; or the server has a token for each
node, in a file of -tokens. Both may be started, stopped and restarted in any order.

-maps FILE and -services FILE have further maps and services.

They stop on SIGINT or SIGTERM: they take no new connections, let the others go on for the
time of -grace, and break those that are left. A second signal ends the program at once.
SIGUSR1 has it print its figures.

traversal server -h and traversal node -h explain the flags.
`

func main() {
	os.Exit(cli.Commands("traversal", usage, os.Args[1:], map[string]func([]string) int{
		"server": func(args []string) int {
			s := newServer()
			return s.Main(args, s.run)
		},
		"node": func(args []string) int {
			n := newNode()
			return n.Main(args, n.run)
		},
	}))
}

// tokenVariable names the environment variable that has the token if no file has it.
const tokenVariable = "TRAVERSAL_TOKEN"

// common has the flags of both sides.
type common struct {
	*cli.Program
	grace, heartbeat, keep time.Duration
}

func newCommon(role string) *common {
	c := &common{Program: cli.New("traversal "+role, fmt.Sprintf("traversal %s is one side. traversal -h explains both.\n", role))}
	c.Flags.DurationVar(&c.grace, "grace", 10*time.Second, "after a signal, let connections go on for `TIME`")
	c.Flags.DurationVar(&c.heartbeat, "heartbeat", 10*time.Second, "ask the other side every `TIME` whether it is there; if it is silent for twice that it is lost")
	tunnel.KeepFlag(c.Flags, &c.keep)
	return c
}

// check returns an error for arguments and times that are invalid.
func (c *common) check() error {
	switch {
	case c.Flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", c.Flags.Arg(0))
	case c.grace < 0 || c.keep < 0 || c.heartbeat <= 0:
		return cli.Usagef("-grace or -keep is negative, or -heartbeat is not positive")
	}
	return nil
}
