// Command relay carries TCP connections through a chain of hops. Between two hops
// there is one geminio connection, and every TCP connection is a stream on it.
//
// Start reading in hop.go, which has the code of every hop. The files upstream.go and
// downstream.go have the variants of its two sides. This file has the roles and the flags.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/tunnel"
)

const usage = `relay carries TCP connections through a chain of hops.

  relay in        -listen ADDR -next ADDR
        accepts TCP, dials the next hop
  relay relay_in  -listen ADDR -next ADDR
        accepts the previous hop, dials the next one
  relay relay_out -listen ADDR -listen-next ADDR
        accepts the previous hop and the next one, which joins
  relay out       -listen ADDR -target ADDR
        accepts the previous hop, dials TCP to the target

All but in may have -join ADDR in place of -listen: they dial the previous hop, which
is a relay_out then. Hops may be started, stopped and restarted in any order. A chain has
several targets with -maps FILE at in and -targets FILE at out.

A hop stops on SIGINT or SIGTERM: it takes no new connections, lets the others go on for
the time of -grace, and breaks those that are left. A second signal ends it at once.
SIGUSR1 has it print its figures.

relay ROLE -h explains the flags.
`

// The roles.
const (
	roleIn       = "in"
	roleRelayIn  = "relay_in"
	roleRelayOut = "relay_out"
	roleOut      = "out"
)

func main() {
	roles := make(map[string]func([]string) int)
	for _, role := range []string{roleIn, roleRelayIn, roleRelayOut, roleOut} {
		roles[role] = func(args []string) int {
			c := newCommand(role)
			return c.Main(args, c.run)
		}
	}
	os.Exit(cli.Commands("relay", usage, os.Args[1:], roles))
}

// command is a hop and its flags.
type command struct {
	*cli.Program
	role                     string
	listen, join             string
	next, listenNext, target string
	mapsFile, targetsFile    string // files of -maps and -targets
	proxy                    int    // see -proxy-protocol
	maps                     []tunnel.Map
	targets                  targets
	grace, wait              time.Duration
	heartbeat, keep          time.Duration
	listenTLS                *cli.ServerTLS
	dialTLS                  *cli.ClientTLS
	listenTokens             *cli.ServerTokens
	dialToken                *cli.ClientToken

	tokens      *cli.Tokens // the tokens of hops that dial this one
	name, token string      // shown to hops that this one dials
	pool        tunnel.Pool // the next hops that have joined a relay_out
}

const (
	program           = "relay"
	tokenVariable     = "RELAY_TOKEN"      // the environment variable with the token of a listening side
	dialTokenVariable = "RELAY_DIAL_TOKEN" // the one with the token of a dialling side
)

func newCommand(role string) *command {
	c := &command{role: role, listenTLS: new(cli.ServerTLS), listenTokens: new(cli.ServerTokens)}
	c.Program = cli.New("relay "+role, fmt.Sprintf("relay %s is one hop of a chain. relay -h explains all roles.\n", role))
	f := c.Flags
	if role == roleIn {
		f.StringVar(&c.listen, "listen", "", "accept TCP at `ADDR`, for the target of -target")
		f.StringVar(&c.mapsFile, "maps", "", "accept TCP for several targets as the TOML `FILE` says, which has lines like \"127.0.0.1:5432\" = \"db\", where db is in the file of -targets")
	} else {
		f.StringVar(&c.listen, "listen", "", "accept the previous hop at `ADDR`")
		f.StringVar(&c.join, "join", "", "dial the previous hop, a relay_out, at `ADDR`")
		c.listenTLS = cli.ServerTLSFlags(f)
		c.listenTokens = cli.ServerTokenFlags(f, tokenVariable)
	}
	switch role {
	case roleIn, roleRelayIn:
		f.StringVar(&c.next, "next", "", "dial the next hop at `ADDR`")
	case roleRelayOut:
		f.StringVar(&c.listenNext, "listen-next", "", "accept the next hop, which joins, at `ADDR`")
	case roleOut:
		f.StringVar(&c.target, "target", "", "dial TCP to `ADDR`")
		f.StringVar(&c.targetsFile, "targets", "", "dial TCP to several targets, which the TOML `FILE` has in lines like db = \"db:5432\" and web = {address = \"127.0.0.1:8080\", proxy-protocol = 2}")
		f.Func("proxy-protocol", "tell the target of -target the address of the client by the PROXY protocol of `VERSION` 1 or 2; 0: not", func(text string) (err error) {
			c.proxy, err = tunnel.ParseProxy(text)
			return err
		})
	}
	f.DurationVar(&c.grace, "grace", 10*time.Second, "after a signal, let connections go on for `TIME`")
	f.DurationVar(&c.wait, "wait", 10*time.Second, "let a connection wait for the next hop, or the target, for `TIME`")
	f.DurationVar(&c.heartbeat, "heartbeat", 10*time.Second, "ask the other hops every `TIME` whether they are there; one that is silent for twice that is lost")
	tunnel.KeepFlag(f, &c.keep)

	// Both sides of a hop have flags for TLS and tokens. The flags of the dialling side have a
	// prefix.
	dial := flag.NewFlagSet("", flag.ContinueOnError)
	c.dialTLS = cli.ClientTLSFlags(dial)
	c.dialToken = cli.ClientTokenFlags(dial, dialTokenVariable).NameFlag(dial)
	dial.VisitAll(func(d *flag.Flag) {
		f.Var(d.Value, "dial-"+d.Name, strings.ReplaceAll(d.Usage, " -", " -dial-"))
	})
	return c
}

// check returns an error for flags that contradict each other or are missing, and reads files.
func (c *command) check() error {
	switch {
	case c.Flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", c.Flags.Arg(0))
	case c.role == roleIn && c.listen+c.mapsFile == "":
		return cli.Usagef("-listen is missing, or -maps")
	case c.role != roleIn && (c.listen == "") == (c.join == ""):
		return cli.Usagef("exactly one of -listen and -join is needed")
	case c.next+c.listenNext+c.target+c.targetsFile == "":
		return cli.Usagef("-%s is missing", map[string]string{
			roleIn: "next", roleRelayIn: "next", roleRelayOut: "listen-next", roleOut: "target",
		}[c.role])
	case c.grace < 0 || c.keep < 0 || c.wait <= 0 || c.heartbeat <= 0:
		return cli.Usagef("-grace or -keep is negative, or -wait or -heartbeat is not positive")
	}
	if err := c.readFiles(); err != nil {
		return err
	}
	_, err := c.dialTLS.Config("")
	if err == nil {
		c.name, c.token, err = c.dialToken.Load()
	}
	if err != nil {
		return fmt.Errorf("flags -dial-...: %w", err)
	}
	c.tokens, err = c.listenTokens.Load()
	return err
}

// readFiles reads the files of -maps and -targets, and adds the map of -listen and the target of
// -target.
func (c *command) readFiles() error {
	var err error
	if c.mapsFile != "" {
		if c.maps, err = tunnel.ReadMaps(c.mapsFile); err != nil {
			return cli.Usagef("-maps: %v", err)
		}
	}
	if c.role == roleIn && c.listen != "" {
		c.maps = append(c.maps, tunnel.Map{Addr: c.listen})
	}
	c.targets = make(targets)
	if c.targetsFile != "" {
		if c.targets, err = tunnel.ReadServices(c.targetsFile); err != nil {
			return cli.Usagef("-targets: %v", err)
		}
	}
	if c.target != "" {
		c.targets[""] = tunnel.Service{Addr: c.target, Proxy: c.proxy}
	}
	return nil
}
