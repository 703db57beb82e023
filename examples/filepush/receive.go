package main

// The receiving side: it connects, accepts the stream that the server opens, and
// copies the file out of it.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
)

const receiveUsage = `filepush receive receives a file that a server pushes. If it is interrupted, it keeps the
received part as FILE.part, and resumes the transfer when it is started again.

  filepush receive [FLAGS]

The file appears at FILE when the sums are equal. It replaces an old file and gets its mode.
If FILE is a symbolic link, the file is written to the target of the link. Without -o the
file is verified and discarded.
`

// errInterrupted is the error of a push that a signal has ended.
var errInterrupted = errors.New("interrupted")

// receiver is one run of filepush receive.
type receiver struct {
	*cli.Program
	connect, output string
	tls             *cli.ClientTLS
	token           *cli.ClientToken
}

func newReceiver() *receiver {
	r := &receiver{Program: cli.New("filepush receive", receiveUsage)}
	r.Flags.StringVar(&r.connect, "connect", address, "receive from the server at `ADDR` (host:port)")
	r.Flags.StringVar(&r.output, "o", "", "write to `FILE`, which appears only when the sums are equal")
	r.tls = cli.ClientTLSFlags(r.Flags)
	r.token = cli.ClientTokenFlags(r.Flags, tokenVariable).NameFlag(r.Flags)
	return r
}

func receiveMain(args []string) int {
	r := newReceiver()
	return r.Main(args, r.run)
}

// run receives from a server, into the output file if there is one.
func (r *receiver) run(ctx context.Context) error {
	if r.Flags.NArg() > 0 {
		return cli.Usagef("unexpected argument %q: the server chooses the PATH", r.Flags.Arg(0))
	}
	name, token, err := r.token.Load()
	if err != nil {
		return err
	}
	cli.WarnPlain(r.Log, r.connect, token != "", r.tls.Used())
	dialer, err := r.tls.Dialer(ctx, r.connect)
	if err != nil {
		return err
	}
	part := nowhere()
	if r.output != "" {
		if part, err = openPart(r.output); err != nil {
			return err
		}
		defer part.close()
	}
	end, err := dial(dialer, auth.New(program, name, token), r.Log)
	if err != nil {
		return part.left(fmt.Errorf("connecting to %s: %w", r.connect, err))
	}
	defer end.Close()
	defer closeWith(ctx, end)()

	got, err := receive(ctx, end, part, r.Terminal())
	if ctx.Err() != nil {
		err = errInterrupted
	}
	if err != nil {
		return part.left(err)
	}
	fmt.Fprintf(r.Stdout, "received %q from %s\n%s", got.Name, end.RemoteAddr(), got)
	if err := got.verdict(); err != nil {
		return errors.Join(err, part.discard())
	}
	if r.output == "" {
		return nil
	}
	if err := part.keep(); err != nil {
		return part.left(err)
	}
	fmt.Fprintf(r.Stdout, "  file      %s\n", part.target)
	return nil
}

// dialTimeout is how long a connection and its TLS handshake may take.
const dialTimeout = 10 * time.Second

// dial connects an End to a server.
func dial(dialer func() (net.Conn, error), who auth.Hello, log *slog.Logger) (geminio.End, error) {
	opt := client.NewEndOptions()
	opt.SetLogger(log)
	opt.SetMeta(who.Meta())
	opt.SetWaitRemoteRPCs(methodBegin)
	opt.SetHandshakeTimeout(dialTimeout)
	return client.NewEndWithDialer(dialer, opt)
}

// receive tells the server the size and sum of the part, accepts the stream that the server
// opens, appends its bytes to the part, and exchanges sums with the server. It returns a result
// also if the sums differ; see verdict.
func receive(ctx context.Context, end geminio.End, part *part, terminal *os.File) (*result, error) {
	offset, err := begin(ctx, end, part)
	if err != nil {
		return nil, err
	}

	// An End is a net.Listener, even at the side that has dialled.
	conn, err := end.Accept()
	if err != nil {
		return nil, fmt.Errorf("the server left before it pushed anything: %w", why(end, err))
	}
	stream := conn.(geminio.Stream)
	defer stream.Close()

	r := &result{}
	start := time.Now()
	if err := json.Unmarshal(stream.Meta(), &r.offer); err != nil {
		return nil, fmt.Errorf("the meta of the stream: %w", err)
	}
	if r.Offset != offset {
		return nil, fmt.Errorf("the server pushes from byte %d on, and not from %d", r.Offset, offset)
	}
	bar := newProgress(terminal, r.offer)
	n, err := io.Copy(io.MultiWriter(part, bar), stream)
	bar.end()
	if err != nil {
		return nil, fmt.Errorf("receiving %q: after %d of %d bytes: %w", r.Name, offset+n, r.Size, why(end, err))
	}
	r.received = part.tally()

	// After io.EOF the server has registered methodSum.
	data, err := json.Marshal(r.received)
	if err != nil {
		return nil, err
	}
	resp, err := stream.Call(ctx, methodSum, stream.NewRequest(data))
	if err != nil {
		return nil, fmt.Errorf("receiving %q: after %d of %d bytes, asking for its sum: %w", r.Name, offset+n, r.Size, why(end, err))
	}
	if r.sent, err = readTally(resp.Data()); err != nil {
		return nil, fmt.Errorf("the sum of %q: %w", r.Name, err)
	}
	r.took = time.Since(start)
	return r, nil
}

// begin tells the server the size and sum of the part, and empties the part if it is not the
// beginning of the file. It returns the remaining size of the part.
func begin(ctx context.Context, end geminio.End, part *part) (int64, error) {
	has := part.tally()
	data, err := json.Marshal(has)
	if err != nil {
		return 0, err
	}
	resp, err := end.Call(ctx, methodBegin, end.NewRequest(data))
	if err != nil {
		return 0, fmt.Errorf("asking the server to begin: %w", why(end, err))
	}
	var b beginning
	if err := json.Unmarshal(resp.Data(), &b); err != nil {
		return 0, fmt.Errorf("the answer of %q: %w", methodBegin, err)
	}
	switch b.Offset {
	case has.Size:
		return b.Offset, nil
	case 0:
		return 0, part.reset()
	}
	return 0, fmt.Errorf("the server begins at byte %d of a part of %d", b.Offset, has.Size)
}

// closeWith closes an End when ctx ends, which ends all blocked operations of the End. The
// returned function stops that.
func closeWith(ctx context.Context, end geminio.End) (stop func() bool) {
	return context.AfterFunc(ctx, func() { end.Close() })
}
