package main

// The receiving side: it writes each message and then acknowledges it.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/screen"
	"github.com/singchia/geminio/examples/internal/turns"
	"github.com/singchia/geminio/server"
)

const receiveUsage = `messager receive writes the messages of all senders, and acknowledges each after it is
written. Its log goes to stderr. A file or a pipe gets the messages unchanged; on a
terminal, control characters appear as escapes.

  messager receive [FLAGS]

On SIGINT or SIGTERM it answers the messages that have arrived, and ends. A second
signal ends it at once.
`

// receiver is one run of messager receive.
type receiver struct {
	*cli.Program
	listen, output string
	sync           bool
	tls            *cli.ServerTLS
	tokens         *cli.ServerTokens
	turns          turns.Turns // orders the connections of one sender

	mu       sync.Mutex // held while a message is written
	out      io.Writer
	torn     error // the error of a partial write
	messages int
	bytes    int64
}

func receiveMain(args []string) int {
	r := &receiver{Program: cli.New("messager receive", receiveUsage)}
	r.Flags.StringVar(&r.listen, "listen", address, "listen on `ADDR` (host:port)")
	r.Flags.StringVar(&r.output, "o", "", "append to `FILE` instead of writing to stdout")
	r.Flags.BoolVar(&r.sync, "sync", false, "with -o, have each message on the disk before it is acknowledged")
	r.tls = cli.ServerTLSFlags(r.Flags)
	r.tokens = cli.ServerTokenFlags(r.Flags, tokenVariable)
	return r.Main(args, r.run)
}

// run receives until ctx ends.
func (r *receiver) run(ctx context.Context) error {
	switch {
	case r.Flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", r.Flags.Arg(0))
	case r.sync && r.output == "":
		return cli.Usagef("-sync goes with -o")
	}
	tokens, err := r.tokens.Load()
	if err != nil {
		return err
	}
	cli.WarnPlain(r.Log, r.listen, tokens.Wanted(), r.tls.Used())
	closeOutput, err := r.open()
	if err != nil {
		return err
	}
	nl, err := r.tls.Listen(r.listen, r.Stderr)
	if err != nil {
		return errors.Join(err, closeOutput())
	}
	opt := server.NewEndOptions()
	opt.SetResumeKeep(0) // each lost connection is reported
	opt.SetLogger(r.Log)
	opt.SetDelegate(auth.NewDelegate(program, tokens, r.Log))
	l, err := server.NewListener(nl, opt)
	if err != nil {
		return errors.Join(err, closeOutput())
	}
	fmt.Fprintf(r.Stderr, "listening on %s\n", l.Addr())
	err = r.serve(ctx, l)
	fmt.Fprintf(r.Stderr, "received %d messages, %s\n", r.messages, cli.Size(r.bytes))
	return errors.Join(err, closeOutput())
}

// open opens the output, and returns a function that closes it.
func (r *receiver) open() (func() error, error) {
	if r.output == "" {
		r.out = r.Stdout
		return func() error { return nil }, nil
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if r.sync {
		flags |= os.O_SYNC
	}
	file, err := os.OpenFile(r.output, flags, 0o666)
	if err != nil {
		return nil, err
	}
	r.out = screen.New(file)
	return file.Close, nil
}

// serve receives from every sender that connects, until ctx ends. Then it answers the messages
// that have arrived, and shuts the connections down, so that the senders wait for the next
// receiver.
func (r *receiver) serve(ctx context.Context, l server.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var senders sync.WaitGroup
	var err error
	for {
		end, acceptErr := l.AcceptEnd()
		if acceptErr != nil {
			if ctx.Err() == nil || !errors.Is(acceptErr, net.ErrClosed) {
				err = acceptErr
			}
			break
		}
		wait, done := r.turns.Take(end.ClientID())
		senders.Go(func() {
			defer done()
			wait() // until the messages of the previous connection are written
			r.receive(end)
		})
	}
	bounded, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if e := geminio.Shutdown(bounded, l); e != nil {
		err = errors.Join(err, fmt.Errorf("senders were cut off after %v", grace))
	}
	senders.Wait()
	return err
}

// receive writes the messages of one sender until its connection ends.
func (r *receiver) receive(end geminio.End) {
	defer end.Close()
	log := r.Log.With("sender", end.ClientID(), "remote", end.RemoteAddr())
	log.Info("sender connected")
	for {
		msg, err := end.Receive(context.Background())
		if err != nil {
			log.Info("sender gone", "why", err)
			return
		}
		if err = r.write(msg.Data()); err != nil {
			log.Error("a message was not written", "err", err)
			err = msg.Error(err) // the sender gets the error
		} else {
			// Done comes after the write, since the sender then discards the message. If
			// the connection has ended, the sender sends the message again on the next
			// one, and the listener, which remembers it, repeats the answer.
			err = msg.Done()
		}
		if err != nil {
			log.Debug("the answer is not sent", "err", err)
		}
	}
}

// write writes one message. After a partial write it writes nothing more.
func (r *receiver) write(data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.torn != nil {
		return r.torn
	}
	n, err := r.out.Write(data)
	if err != nil {
		if n > 0 {
			r.torn = fmt.Errorf("after a message of which %d of %d bytes were written: %w", n, len(data), err)
		}
		return err
	}
	r.messages++
	r.bytes += int64(n)
	return nil
}
