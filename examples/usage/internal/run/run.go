package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/server"
)

// address is where all servers listen and all clients dial by default.
const address = "127.0.0.1:1208"

// grace is how long a server waits for operations under way after a signal.
const grace = 5 * time.Second

// Server is the main function of a server. It listens with opt, which may be nil, and calls
// serve, which accepts Ends, until a signal arrives or serve fails. Then it shuts down, and
// waits at most a few seconds for operations under way. It does not return.
func Server(does string, opt *server.EndOptions, serve func(server.Listener) error) {
	p := cli.New("server", fmt.Sprintf("server %s, until SIGINT or SIGTERM.\n\n  server [FLAGS]\n", does))
	addr := p.Flags.String("listen", address, "listen on `ADDR` (host:port)")
	tls := cli.ServerTLSFlags(p.Flags)
	os.Exit(p.Main(os.Args[1:], func(ctx context.Context) error {
		if p.Flags.NArg() > 0 {
			return cli.Usagef("unexpected argument %q", p.Flags.Arg(0))
		}
		logs := server.NewEndOptions()
		logs.SetLogger(p.Log)
		nl, err := tls.Listen(*addr, p.Stdout)
		if err != nil {
			return err
		}
		l, err := server.NewListener(nl, opt, logs)
		if err != nil {
			return err
		}
		fmt.Fprintln(p.Stdout, "listening on", l.Addr())
		context.AfterFunc(ctx, func() { l.Close() })
		err = serve(l)
		if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
			err = nil // serve ended because of the signal
		}
		return errors.Join(err, shutdown(l))
	}))
}

// shutdown ends all Ends of l.
func shutdown(l server.Listener) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := geminio.Shutdown(ctx, l)
	if err != nil {
		return fmt.Errorf("something was cut off after %v: %w", grace, err)
	}
	return nil
}

// Client is the main function of a client. It calls do with a dialer for the server and with
// options. A signal ends the context of do. It does not return.
func Client(does string, do func(ctx context.Context, dial client.Dialer, opt *client.EndOptions) error) {
	p := cli.New("client", fmt.Sprintf("client %s.\n\n  client [FLAGS]\n", does))
	addr := p.Flags.String("addr", address, "connect to the server at `ADDR` (host:port)")
	tls := cli.ClientTLSFlags(p.Flags)
	os.Exit(p.Main(os.Args[1:], func(ctx context.Context) error {
		if p.Flags.NArg() > 0 {
			return cli.Usagef("unexpected argument %q", p.Flags.Arg(0))
		}
		dial, err := tls.Dialer(ctx, *addr)
		if err != nil {
			return err
		}
		opt := client.NewEndOptions()
		opt.SetLogger(p.Log)
		return do(ctx, dial, opt)
	}))
}
