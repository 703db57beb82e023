package main

// The client: it prints what the server publishes and sends what is typed.

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
)

const joinUsage = `chatroom join goes into the room of a server under a name. Lines that are typed are
said to all; /help explains what else there is. Where the connection is lost it comes
back by itself, and what was typed meanwhile is said then. At the end of its input,
on SIGINT or SIGTERM, and after /quit, it leaves. Of lines that do not come from a
terminal it exits with 1 if one of them was not said; the others are.

  chatroom join [FLAGS] NAME
`

// The pauses between attempts to reconnect are up to these.
const retryMin, retryMax = 50 * time.Millisecond, 2 * time.Second

// retryEnd is what a *client.RetryEnd can do beside its interfaces.
type retryEnd interface {
	geminio.End
	Done() <-chan struct{}
	Cause() error
}

// chatClient is one run of chatroom join.
type chatClient struct {
	*cli.Program
	connect   string
	heartbeat time.Duration
	tls       *cli.ClientTLS
	token     *cli.ClientToken
	name      string
	end       retryEnd
	over      atomic.Bool // it leaves of its own will

	mu sync.Mutex // what is printed comes in whole lines

	failed bool // something that was typed was not done; of the goroutine that reads

	// Of the goroutine that listens.
	room  string // its number
	line  uint64 // the last one that was heard there
	fresh bool   // it is the first connection to that room
}

func joinMain(args []string) int {
	c := &chatClient{Program: cli.New("chatroom join", joinUsage)}
	c.Flags.StringVar(&c.connect, "connect", address, "connect to the server at `ADDR` (host:port)")
	c.Flags.DurationVar(&c.heartbeat, "heartbeat", 10*time.Second, "take the server for dead if it is silent for twice that `TIME`")
	c.tls = cli.ClientTLSFlags(c.Flags)
	c.token = cli.ClientTokenFlags(c.Flags, tokenVariable)
	return c.Main(args, c.run)
}

// run is in the room until the user or ctx wants to leave.
func (c *chatClient) run(ctx context.Context) error {
	if c.Flags.NArg() != 1 {
		return cli.Usagef("one NAME, please, after the flags")
	}
	if c.heartbeat <= 0 {
		return cli.Usagef("-heartbeat must be above 0")
	}
	c.name = c.Flags.Arg(0)
	if err := checkName(c.name); err != nil {
		return cli.Usagef("%v", err)
	}
	if err := c.dial(ctx); err != nil {
		return err
	}
	var listener sync.WaitGroup
	defer listener.Wait()
	defer c.leave()
	listener.Go(c.listen)

	lines, read := make(chan typedLine), make(chan error, 1)
	go func() { read <- typed(os.Stdin, lines, c.end.Done()) }()
	for {
		select {
		case line := <-lines:
			if !c.do(ctx, line) {
				return c.verdict()
			}
		case err := <-read:
			return cmp.Or(c.end.Cause(), err, c.verdict())
		case <-c.end.Done():
			return fmt.Errorf("no longer in the room: %w", c.end.Cause())
		case <-ctx.Done():
			return c.verdict()
		}
	}
}

// verdict returns an error if something was not done that was not typed at a terminal: there
// somebody has seen it.
func (c *chatClient) verdict() error {
	if c.failed && !typedAtTerminal() {
		return errors.New("not everything was said or done")
	}
	return nil
}

// typedLine is one line of the input, without its end.
type typedLine struct {
	number int
	text   string
	err    error // why it cannot be said
}

// maxCommand is what a line may have beside what is said in it: a command and a name.
const maxCommand = 200

// typed reads lines until the input or the End ends. Of one that is too long it keeps the
// beginning, and goes on behind its end.
func typed(r io.Reader, lines chan<- typedLine, done <-chan struct{}) error {
	in := bufio.NewReader(r)
	for number := 1; ; number++ {
		text, length, err := cli.ReadLine(in, longestLine+maxCommand)
		if length > 0 || err == nil {
			line := typedLine{number: number, text: string(text)}
			if length > longestLine+maxCommand {
				line.err = tooLong(length)
			}
			select {
			case lines <- line:
			case <-done:
				return nil
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// dial makes the End. Later on, the server refuses it if somebody else has taken the
// name while there was no connection; then it is no use to go on.
func (c *chatClient) dial(ctx context.Context) error {
	dialer, err := c.tls.Dialer(ctx, c.connect)
	if err != nil {
		return err
	}
	_, token, err := c.token.Load()
	if err != nil {
		return err
	}
	cli.WarnPlain(c.Log, c.connect, token != "", c.tls.Used())
	opt := client.NewEndOptions()
	opt.SetLogger(c.Log)
	opt.SetMeta(auth.New(program, c.name, token).Meta())
	opt.SetHeartbeat(c.heartbeat)
	opt.SetDelegate(teller{client: c})
	opt.SetRetryBackoff(retryMin, retryMax)
	opt.SetRetryFailedFunc(cli.NotConnected(c.Log))
	opt.SetStopOnRefusal()
	opt.SetConnectWait(0) // lines wait until the server is back
	end, err := client.NewRetryEndWithDialer(dialer, opt)
	if err != nil {
		return fmt.Errorf("joining at %s: %w", c.connect, err)
	}
	c.end = end.(retryEnd)
	return nil
}

// teller tells the user what becomes of the connection.
type teller struct {
	*delegate.UnimplementedDelegate
	client *chatClient
}

// ConnOffline implements delegate.ClientDelegate.
func (t teller) ConnOffline(delegate.ConnDescriber) error {
	if !t.client.over.Load() {
		t.client.print("* the connection is lost: making another")
	}
	return nil
}

// EndReOnline implements delegate.ClientDelegate.
func (t teller) EndReOnline(delegate.ClientDescriber) { t.client.print("* connected again") }

// print prints a line. What comes from the server breaks none.
func (c *chatClient) print(format string, args ...any) { c.printTo(c.Stdout, format, args...) }

// complain prints on stderr why what a line says was not done.
func (c *chatClient) complain(line typedLine, format string, args ...any) {
	c.failed = true
	where := ""
	if !typedAtTerminal() {
		where = fmt.Sprintf("line %d: ", line.number)
	}
	c.printTo(c.Stderr, "! %s%s", where, fmt.Sprintf(format, args...))
}

// typedAtTerminal tells whether somebody types.
func typedAtTerminal() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

func (c *chatClient) printTo(w io.Writer, format string, args ...any) {
	line := oneLine(fmt.Sprintf(format, args...))
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(w, line)
}

// listen prints the events of the server until the end, over all reconnects.
func (c *chatClient) listen() {
	for {
		msg, err := c.end.Receive(context.Background())
		if err != nil {
			return
		}
		e, err := readEvent(msg)
		if err == nil {
			c.heard(e)
		}
		msg.Error(err) // a nil error is Done: the next one may come
	}
}

// heard prints an event.
func (c *chatClient) heard(e event) {
	switch e.kind {
	case kindHello:
		if c.fresh = e.Text != c.room; c.fresh {
			c.room, c.line = e.Text, 0
			c.print("* you are %s; here: %s", e.To, strings.Join(e.Here, ", "))
		}
	case kindLine:
		c.heardLine(e)
	case kindTold:
		c.print("[%s to you] %s", e.From, e.Text)
	case kindJoined:
		c.print("* %s has joined", e.From)
	case kindLeft:
		if e.Text != "" {
			e.Text = " (" + e.Text + ")"
		}
		c.print("* %s has left%s", e.From, e.Text)
	case kindSkipped:
		c.print("* you were too slow: %d lines or notices are missing here", e.Count)
	case kindNotice:
		c.print("* %s", e.Text)
	}
}

// heardLine prints a line unless it was heard before, which is so with the past ones
// that come again after a reconnect, or was said here.
func (c *chatClient) heardLine(e event) {
	if e.Line <= c.line {
		return
	}
	missed := e.Line - c.line - 1
	c.line = e.Line
	if e.Past && !c.fresh && missed > 0 {
		c.print("* %d lines are missing here", missed)
	}
	if e.From != c.name || e.Past && c.fresh {
		c.print("<%s> %s", e.From, e.Text)
	}
}
