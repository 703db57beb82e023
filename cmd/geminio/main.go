// Command geminio talks to servers of the geminio library from a terminal: it calls methods,
// publishes and receives messages, connects standard input and output to a stream, serves,
// measures, and looks into processes. Run "geminio help" for its commands.
//
// A server is named by a URL: tcp://host:port, tls://host:port, unix:///path, ws://host/path or
// wss://host/path. An address without a scheme stands for tcp.
//
// The exit status is 0 for success, 1 for an error of the other side's handler or any other
// error, 2 for wrong usage, 3 if there is no connection, and 4 if the time was over.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/singchia/geminio"
)

// The exit statuses.
const (
	exitOK        = 0
	exitError     = 1
	exitUsage     = 2
	exitConnect   = 3
	exitTimeout   = 4
	exitInterrupt = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run executes the command of args and returns the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(errOut, "geminio:", message(err))
	}
	return statusOf(ctx, err)
}

// usageError is an error in the arguments of a command.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// connectError is the error of a connection that was not made.
type connectError struct{ error }

func (e connectError) Unwrap() error { return e.error }

// statusOf returns the exit status for the error of a command.
func statusOf(ctx context.Context, err error) int {
	var timeout net.Error
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		return exitInterrupt
	case errors.As(err, new(usageError)):
		return exitUsage
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout(),
		errors.Is(err, geminio.ErrHandshakeTimeout):
		return exitTimeout
	case errors.As(err, new(connectError)):
		return exitConnect
	}
	return exitError
}
