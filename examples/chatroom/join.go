package main

// The client: it prints what the server publishes and sends what is typed.

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/cli"
)

const joinUsage = `chatroom join goes into the room of a server under a name. Lines that are typed are
said to all; /help explains what else there is. Where the connection is lost it comes
back by itself, and what was typed meanwhile is said then. At the end of its input,
on SIGINT or SIGTERM, and after /quit, it leaves.

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
	me        identity
	end       retryEnd
	over      atomic.Bool // it leaves of its own will

	mu sync.Mutex // what is printed comes in whole lines

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
	c.me = identity{Name: c.Flags.Arg(0), Token: rand.Text() + rand.Text()}
	if err := checkName(c.me.Name); err != nil {
		return cli.Usagef("%v", err)
	}
	if err := c.dial(ctx); err != nil {
		return err
	}
	var listener sync.WaitGroup
	defer listener.Wait()
	defer c.leave()
	listener.Go(c.listen)

	lines, read := make(chan string), make(chan error, 1)
	go func() { read <- typed(os.Stdin, lines, c.end.Done()) }()
	for {
		select {
		case line := <-lines:
			if !c.do(ctx, line) {
				return nil
			}
		case err := <-read:
			return cmp.Or(c.end.Cause(), err)
		case <-c.end.Done():
			return fmt.Errorf("no longer in the room: %w", c.end.Cause())
		case <-ctx.Done():
			return nil
		}
	}
}

// typed reads lines until the input or the End ends.
func typed(r io.Reader, lines chan<- string, done <-chan struct{}) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		select {
		case lines <- scanner.Text():
		case <-done:
			return nil
		}
	}
	return scanner.Err()
}

// dial makes the End. Later on, the server refuses it if somebody else has taken the
// name while there was no connection; then it is no use to go on.
func (c *chatClient) dial(ctx context.Context) error {
	dialer, err := c.tls.Dialer(ctx, c.connect)
	if err != nil {
		return err
	}
	meta, err := json.Marshal(c.me)
	if err != nil {
		return err
	}
	opt := client.NewEndOptions()
	opt.SetLogger(c.Log)
	opt.SetMeta(meta)
	opt.SetHeartbeat(c.heartbeat)
	opt.SetDelegate(teller{client: c})
	opt.SetRetryBackoff(retryMin, retryMax)
	opt.SetRetryFailedFunc(func(err error) { c.Log.Info("not connected", "err", err) })
	opt.SetStopOnRefusal()
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

// print prints a line.
func (c *chatClient) print(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.Stdout, format+"\n", args...)
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
	if e.From != c.me.Name || e.Past && c.fresh {
		c.print("<%s> %s", e.From, e.Text)
	}
}
