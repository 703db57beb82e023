// Command filepush pushes a file over a geminio stream: the server opens a
// stream to each client that connects and copies the file into it, the client
// copies it out, and both compare what they have counted by a call.
//
// Start reading in push.go and receive.go, which are the two sides; local.go has
// both in one process. This file has the flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `filepush pushes a file from a server to a client and compares SHA-256 sums.

  filepush [PATH]                      both sides in this process, over TCP
  filepush -serve ADDR [PATH]          push PATH to every client that connects
  filepush -connect ADDR [-o FILE]     receive what the server pushes

Without PATH it pushes its own executable. A server stops on SIGINT or SIGTERM,
after the pushes that are under way; a second signal ends it at once. Without
FILE a client verifies what it receives and throws it away.

The exit code is 0 when all went well, 1 when something failed or the copy is
not identical, 2 when the flags make no sense.

Flags (they go before PATH):
`

// grace is how long a server that was told to stop waits for its pushes.
const grace = 30 * time.Second

// errInterrupted is why a push ended that a signal has ended.
var errInterrupted = errors.New("interrupted")

// app is one run of the program.
type app struct {
	path          string // the file to push
	serveAddr     string
	cert, key     string
	connectAddr   string
	output        string
	ca            string
	insecure      bool
	level         slog.Level
	grace         time.Duration
	log           *slog.Logger
	stdout        io.Writer // results
	stderr        io.Writer // the log, the progress bar, errors
	ownExecutable bool      // no PATH was given
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run does what args say and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	a := &app{grace: grace, stdout: stdout, stderr: stderr}
	switch err := a.parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "filepush: %v\nfilepush -h explains the flags.\n", err)
		return 2
	}
	a.log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: a.level}))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the next signal is no longer caught

	if err := a.do(ctx); err != nil {
		fmt.Fprintf(stderr, "filepush: %v\n", err)
		return 1
	}
	return 0
}

// parse reads the flags.
func (a *app) parse(args []string) error {
	flags := flag.NewFlagSet("filepush", flag.ContinueOnError)
	flags.StringVar(&a.serveAddr, "serve", "", "listen on `ADDR` (host:port) and push PATH to every client")
	flags.StringVar(&a.cert, "cert", "", "serve TLS with the certificate in the PEM `FILE`")
	flags.StringVar(&a.key, "key", "", "the PEM `FILE` with the key of -cert")
	flags.StringVar(&a.connectAddr, "connect", "", "receive from the server at `ADDR` (host:port)")
	flags.StringVar(&a.output, "o", "", "with -connect, write to `FILE`, which appears only when the sums are equal")
	flags.StringVar(&a.ca, "ca", "", "with -connect, use TLS and trust the certificates in the PEM `FILE`")
	flags.BoolVar(&a.insecure, "insecure", false, "with -connect, use TLS and trust any certificate")
	flags.TextVar(&a.level, "v", slog.LevelWarn, "log from `LEVEL` on: debug, info, warn or error")

	flags.SetOutput(io.Discard) // run prints the error
	flags.Usage = func() {}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(a.stdout, usage)
			flags.SetOutput(a.stdout)
			flags.PrintDefaults()
		}
		return err
	}

	switch {
	case flags.NArg() > 1:
		return fmt.Errorf("one PATH, please, and after the flags: there is also %q", flags.Arg(1))
	case a.serveAddr != "" && a.connectAddr != "":
		return errors.New("-serve and -connect are two programs: run it twice")
	case a.connectAddr != "" && flags.NArg() > 0:
		return errors.New("with -connect it is the server that chooses the PATH")
	case a.connectAddr == "" && (a.output != "" || a.ca != "" || a.insecure):
		return errors.New("-o, -ca and -insecure go with -connect")
	case a.serveAddr == "" && (a.cert != "" || a.key != ""):
		return errors.New("-cert and -key go with -serve")
	case (a.cert == "") != (a.key == ""):
		return errors.New("-cert and -key go together")
	case a.ca != "" && a.insecure:
		return errors.New("-ca and -insecure contradict each other")
	}

	a.path = flags.Arg(0)
	if flags.NArg() == 0 && a.connectAddr == "" {
		own, err := os.Executable()
		if err != nil {
			return fmt.Errorf("no PATH given, and its own executable is unknown: %w", err)
		}
		a.path, a.ownExecutable = own, true
	}
	return nil
}

// do does what the flags say, until ctx ends.
func (a *app) do(ctx context.Context) error {
	if a.ownExecutable {
		fmt.Fprintln(a.stdout, "no PATH given: pushing this program's own executable")
	}
	switch {
	case a.serveAddr != "":
		return a.serve(ctx)
	case a.connectAddr != "":
		return a.connect(ctx)
	default:
		return a.local(ctx)
	}
}
