package main

// Both sides in one process, over real TCP on the loopback interface.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
)

const demoUsage = `filepush demo pushes a file from one side to the other, both in this process, over TCP on
the loopback interface. Without PATH it pushes its own executable.

  filepush demo [FLAGS] [PATH]
`

func demoMain(args []string) int {
	p := cli.New("filepush demo", demoUsage)
	return p.Main(args, func(ctx context.Context) error { return demo(ctx, p) })
}

// demo pushes the file from one End of this process to another.
func demo(parent context.Context, p *cli.Program) error {
	path := p.Flags.Arg(0)
	switch p.Flags.NArg() {
	case 0:
		var err error
		if path, err = os.Executable(); err != nil {
			return fmt.Errorf("no PATH given, and its own executable is unknown: %w", err)
		}
		fmt.Fprintln(p.Stdout, "no PATH given: pushing this program's own executable")
	case 1:
	default:
		return cli.Usagef("one PATH, please, after the flags: there is also %q", p.Flags.Arg(1))
	}
	if err := checkFile(path); err != nil {
		return err
	}
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	listener, err := listen(nl, &cli.Tokens{}, p.Log)
	if err != nil {
		return err
	}
	defer listener.Close()
	addr := listener.Addr().String()

	// The first failure of a side, or a signal, ends both sides.
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var sides sync.WaitGroup
	sides.Go(func() {
		end, err := listener.AcceptEnd()
		if err != nil {
			cancel(fmt.Errorf("sender: %w", err))
			return
		}
		defer end.Close()
		defer closeWith(ctx, end)()
		r, err := push(ctx, end, path)
		if err == nil {
			err = r.verdict()
		}
		if err != nil {
			cancel(fmt.Errorf("sender: %w", err))
		}
	})
	var r *result
	sides.Go(func() {
		end, err := dial(func() (net.Conn, error) { return net.Dial("tcp", addr) }, auth.New(program, "", ""), p.Log)
		if err == nil {
			defer end.Close()
			defer closeWith(ctx, end)()
			r, err = receive(ctx, end, nowhere(), p.Terminal())
		}
		if err != nil {
			cancel(fmt.Errorf("receiver: %w", err))
			listener.Close()
		}
	})
	sides.Wait()

	if r != nil {
		fmt.Fprintf(p.Stdout, "pushed %q over %s\n%s", r.Name, addr, r)
	}
	switch {
	case parent.Err() != nil:
		return errInterrupted
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case r == nil:
		return errors.New("nothing was pushed")
	}
	return r.verdict()
}
