package main

// The client: it prints the events of the server and sends the lines that the user types.

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
	"github.com/singchia/geminio/typed"
)

const joinUsage = `chatroom join joins the room of a server under a name, and says the lines that the user
types to all; /help explains the commands. If the connection is lost, it reconnects, and
says the lines that were typed meanwhile. It leaves at the end of its input, on SIGINT or
SIGTERM, and after /quit. If its input is not a terminal, it exits with 1 if a line could
not be said; it still says the other lines.

  chatroom join [FLAGS] NAME
`

// retryMin and retryMax bound the pauses between attempts to reconnect.
const retryMin, retryMax = 50 * time.Millisecond, 2 * time.Second

// retryEnd has the methods of a *client.RetryEnd that the client uses.
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
	over      atomic.Bool // the user leaves

	mu sync.Mutex // held while a line is printed

	failed bool // a typed line has failed; used by the goroutine that reads input

	// Used by the goroutine that receives events.
	room  string // the number of the room
	line  uint64 // the number of the last line of that room
	fresh bool   // this is the first connection to that room
}

func joinMain(args []string) int {
	c := &chatClient{Program: cli.New("chatroom join", joinUsage)}
	c.Flags.StringVar(&c.connect, "connect", address, "connect to the server at `ADDR` (host:port)")
	c.Flags.DurationVar(&c.heartbeat, "heartbeat", 10*time.Second, "end the connection if the server is silent for twice that `TIME`")
	c.tls = cli.ClientTLSFlags(c.Flags)
	c.token = cli.ClientTokenFlags(c.Flags, tokenVariable)
	return c.Main(args, c.run)
}

// run joins the room and stays until the user leaves or ctx ends.
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
	go func() { read <- readLines(os.Stdin, lines, c.end.Done()) }()
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

// verdict returns an error if a line has failed and the input is not a terminal. At a terminal
// the user has seen the error.
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
	err    error // the line cannot be said
}

// maxCommand bounds the bytes of a command and a name before the text of a line.
const maxCommand = 200

// readLines reads lines until the input or the End ends. It truncates a line that is too long, and
// continues with the next one.
func readLines(r io.Reader, lines chan<- typedLine, done <-chan struct{}) error {
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

// dial makes the End. If another client takes the name while there is no connection, the
// server refuses the End, and the End stops.
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
	opt.SetResumeKeep(0) // each lost connection is reported
	opt.SetLogger(c.Log)
	opt.SetMeta(auth.New(program, c.name, token).Meta())
	opt.SetHeartbeat(c.heartbeat)
	opt.SetDelegate(teller{client: c})
	opt.SetRetryBackoff(retryMin, retryMax)
	opt.SetRetryFailedFunc(cli.NotConnected(c.Log))
	opt.SetStopOnRefusal()
	opt.SetConnectWait(0) // lines wait without limit for the server
	end, err := client.NewRetryEndWithDialer(dialer, opt)
	if err != nil {
		return fmt.Errorf("joining at %s: %w", c.connect, err)
	}
	c.end = end.(retryEnd)
	return nil
}

// teller prints the loss of the connection and the reconnect.
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

// print prints one line. Text of the server cannot begin another line.
func (c *chatClient) print(format string, args ...any) { c.printTo(c.Stdout, format, args...) }

// complain prints on stderr that a line has failed, and why.
func (c *chatClient) complain(line typedLine, format string, args ...any) {
	c.failed = true
	where := ""
	if !typedAtTerminal() {
		where = fmt.Sprintf("line %d: ", line.number)
	}
	c.printTo(c.Stderr, "! %s%s", where, fmt.Sprintf(format, args...))
}

// typedAtTerminal tells whether the input is a terminal.
func typedAtTerminal() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

func (c *chatClient) printTo(w io.Writer, format string, args ...any) {
	line := oneLine(fmt.Sprintf(format, args...))
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(w, line)
}

// listen prints the events of the server until the end, over all reconnects. The server publishes
// the next event when the one before was printed.
func (c *chatClient) listen() {
	var d typed.Dispatcher
	topicEvent.Subscribe(&d, func(_ context.Context, e event) error {
		c.heard(e)
		return nil
	})
	d.Run(context.Background(), c.end)
}

// heard prints an event.
func (c *chatClient) heard(e event) {
	switch e.Kind {
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

// heardLine prints a line. It does not print lines that the server sends again after a
// reconnect, nor lines of this client.
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
