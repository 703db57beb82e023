package main

// The server: it accepts clients and pushes the file to each.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/server"
)

const serveUsage = `filepush serve pushes a file to every client that connects.

  filepush serve [FLAGS] PATH

On SIGINT or SIGTERM it waits half a minute for the pushes under way. A second signal
ends it at once.
`

// grace is how long a server waits for its pushes after a signal.
const grace = 30 * time.Second

// sender is one run of filepush serve.
type sender struct {
	*cli.Program
	listen, path string
	grace        time.Duration
	tls          *cli.ServerTLS
	tokens       *cli.ServerTokens
}

func newSender() *sender {
	s := &sender{Program: cli.New("filepush serve", serveUsage), grace: grace}
	s.Flags.StringVar(&s.listen, "listen", address, "listen on `ADDR` (host:port)")
	s.tls = cli.ServerTLSFlags(s.Flags)
	s.tokens = cli.ServerTokenFlags(s.Flags, tokenVariable)
	return s
}

func serveMain(args []string) int {
	s := newSender()
	return s.Main(args, s.run)
}

// run serves until ctx ends.
func (s *sender) run(ctx context.Context) error {
	if s.Flags.NArg() != 1 {
		return cli.Usagef("one PATH, please, after the flags")
	}
	s.path = s.Flags.Arg(0)
	tokens, err := s.tokens.Load()
	if err != nil {
		return err
	}
	if _, err := s.tls.Config(); err != nil {
		return err
	}
	if err := checkFile(s.path); err != nil {
		return err
	}
	cli.WarnPlain(s.Log, s.listen, tokens.Wanted(), s.tls.Used())
	nl, err := s.tls.Listen(s.listen, s.Stdout)
	if err != nil {
		return err
	}
	l, err := listen(nl, tokens, s.Log)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Stdout, "serving %q on %s\n", s.path, l.Addr())
	return s.serve(ctx, l)
}

// listen makes a listener for Ends.
func listen(l net.Listener, tokens *cli.Tokens, log *slog.Logger) (server.Listener, error) {
	opt := server.NewEndOptions()
	opt.SetLogger(log)
	opt.SetDelegate(auth.NewDelegate(program, tokens, log))
	return server.NewListener(l, opt)
}

// serve pushes the file to every client that connects. When ctx ends, it waits for the
// pushes under way and returns.
func (s *sender) serve(ctx context.Context, l server.Listener) error {
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var pushes sync.WaitGroup
	var err error
	for {
		end, acceptErr := l.AcceptEnd()
		if acceptErr != nil {
			if ctx.Err() == nil {
				err = fmt.Errorf("accepting on %s: %w", l.Addr(), acceptErr)
			}
			break
		}
		pushes.Go(func() { s.pushTo(end) })
	}
	fmt.Fprintln(s.Stdout, "stopping after the pushes that are under way")
	return errors.Join(err, s.drain(l, &pushes))
}

// pushTo serves one client. It logs a failure, which does not end the server.
func (s *sender) pushTo(end geminio.End) {
	defer end.Close()
	log := s.Log.With("client", end.ClientID(), "remote", end.RemoteAddr())
	log.Info("client connected")
	r, err := push(context.Background(), end, s.path)
	if err != nil {
		log.Error("push failed", "err", err)
		return
	}
	fmt.Fprintf(s.Stdout, "pushed %q to %s\n%s", r.Name, end.RemoteAddr(), r)
}

// drain waits for the pushes, and cuts off those that take longer than the
// grace.
//
// Shutdown alone does not suffice: it refuses new calls, and a push ends with a call.
// So drain shuts the listener, which is already closed, down after the pushes. If the
// grace ends earlier, Shutdown with the ended context closes the remaining Ends at once.
func (s *sender) drain(listener server.Listener, pushes *sync.WaitGroup) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.grace)
	defer cancel()
	shutdown := func() { geminio.Shutdown(ctx, listener) }
	stop := context.AfterFunc(ctx, shutdown)
	pushes.Wait()
	if !stop() {
		return fmt.Errorf("some pushes were cut off after %v", s.grace)
	}
	shutdown()
	return nil
}

// checkFile returns an error if the file cannot be pushed.
func checkFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	return nil
}
