package main

// The sending side: it publishes messages until they are acknowledged, over any number of
// connections.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
)

const sendUsage = `messager send publishes each line of stdin, or of files, as a message and waits until
the receiver has acknowledged it. If the connection is lost it makes another one, and
publishes the messages without an answer again.

  messager send [FLAGS] [FILE...]

A FILE - is stdin. A line longer than 1 MiB is sent as several messages. On SIGINT or
SIGTERM it reads no more lines, waits a few seconds for the answers, and prints the
number of acknowledged messages. A second signal ends it at once.
`

const (
	retryMin, retryMax = 50 * time.Millisecond, 2 * time.Second
	maxInFlight        = 1 << 16  // messages
	maxInFlightBytes   = 32 << 20 // except for a single message
	maxChunk           = 16 << 20 // below the limit of the library
)

// errInterrupted is the error if a signal ends the sender.
var errInterrupted = errors.New("interrupted before all was sent")

// retryEnd has the methods of a *client.RetryEnd that the sender uses.
type retryEnd interface {
	geminio.End
	Done() <-chan struct{}
	Cause() error
}

// sender is one run of messager send. Only one goroutine uses it.
type sender struct {
	*cli.Program
	connect string
	async   int
	wait    bool
	in      input
	tls     *cli.ClientTLS
	token   *cli.ClientToken

	end      retryEnd
	over     atomic.Bool // the sender closes the End
	bar      *progress
	inFlight int
	pending  int // bytes of messages without an answer
	messages int // acknowledged messages
	bytes    int64
	err      error // the first error of a message
}

func sendMain(args []string) int {
	s := &sender{Program: cli.New("messager send", sendUsage)}
	s.Flags.StringVar(&s.connect, "connect", address, "connect to the receiver at `ADDR` (host:port)")
	s.Flags.IntVar(&s.async, "async", 0, "publish asynchronously, with up to `N` messages in flight; 0: one after the other")
	s.Flags.IntVar(&s.in.chunk, "chunk", 0, "send pieces of `N` bytes instead of lines")
	s.Flags.BoolVar(&s.wait, "wait", false, "wait for a receiver that is not there yet, instead of failing")
	s.tls = cli.ClientTLSFlags(s.Flags)
	s.token = cli.ClientTokenFlags(s.Flags, tokenVariable).NameFlag(s.Flags)
	return s.Main(args, s.run)
}

// run sends the whole input, until ctx ends.
func (s *sender) run(ctx context.Context) error {
	switch {
	case s.async < 0 || s.async > maxInFlight:
		return cli.Usagef("-async is from 0 to %d", maxInFlight)
	case s.in.chunk < 0 || s.in.chunk > maxChunk:
		return cli.Usagef("-chunk is from 0 to %d", maxChunk)
	}
	if s.in.files = s.Flags.Args(); len(s.in.files) == 0 {
		s.in.files = []string{"-"}
	}
	for _, name := range s.in.files { // before the first message
		if _, err := os.Stat(name); err != nil && name != "-" {
			return err
		}
	}
	if err := s.dial(ctx); err != nil {
		return err
	}
	defer func() {
		s.over.Store(true)
		s.end.Close()
	}()

	s.bar = newProgress(s.Terminal(), s.in.total())
	start := time.Now()
	err := s.publish(ctx)
	s.bar.end()
	s.report(time.Since(start))
	return err
}

// dial makes the End.
func (s *sender) dial(ctx context.Context) error {
	// The dialer does not use ctx, since the End must be able to reconnect while the
	// sender waits for the last answers.
	dialer, err := s.tls.Dialer(context.WithoutCancel(ctx), s.connect)
	if err != nil {
		return err
	}
	name, token, err := s.token.Load()
	if err != nil {
		return err
	}
	cli.WarnPlain(s.Log, s.connect, token != "", s.tls.Used())
	opt := client.NewEndOptions()
	opt.SetResumeKeep(0) // each lost connection is reported
	opt.SetLogger(s.Log)
	opt.SetMeta(auth.New(program, name, token).Meta())
	opt.SetDelegate(&teller{s: s})
	opt.SetRetryBackoff(retryMin, retryMax)
	opt.SetRetryFailedFunc(cli.NotConnected(s.Log))
	opt.SetStopOnRefusal()
	opt.SetMaxWaiting(maxInFlight, maxInFlightBytes+maxChunk)
	opt.SetConnectWait(0) // messages wait without limit for a receiver
	if s.wait {
		opt.SetRetryFirst(ctx)
	}
	end, err := client.NewRetryEndWithDialer(dialer, opt)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", s.connect, err)
	}
	s.end = end.(retryEnd)
	return nil
}

// teller logs the loss of the connection and the reconnect.
type teller struct {
	*delegate.UnimplementedDelegate
	s *sender
}

// ConnOffline implements delegate.ClientDelegate.
func (t *teller) ConnOffline(delegate.ConnDescriber) error {
	if !t.s.over.Load() {
		t.s.Log.Warn("the connection is lost: making another")
	}
	return nil
}

// EndReOnline implements delegate.ClientDelegate.
func (t *teller) EndReOnline(delegate.ClientDescriber) {
	t.s.Log.Warn("connected again: what was not acknowledged is published again")
}

// publish publishes the whole input, and waits for the answers. It stops at the
// first message that the receiver refuses, and when ctx ends. Then it waits for the
// answers to the messages under way, for the time of grace at most.
func (s *sender) publish(ctx context.Context) error {
	published, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()

	// A goroutine reads, since reading may wait for the user and must not delay a signal.
	data, read := make(chan []byte), make(chan error, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		read <- s.in.each(func(b []byte) bool {
			select {
			case data <- b:
				return true
			case <-stop:
				return false
			}
		})
	}()

	acks := make(chan *geminio.Publish, max(s.async, 1)) // a buffer for all messages under way
	var err error
	for more := true; more && s.err == nil; {
		select {
		case b := <-data:
			s.one(published, b, acks)
		case p := <-acks:
			s.answered(p)
		case err = <-read:
			more = false
		case <-s.end.Done():
			err, more = s.end.Cause(), false
		case <-ctx.Done():
			err, more = errInterrupted, false
		}
	}
	for s.inFlight > 0 {
		s.answered(<-acks)
	}
	return cmp.Or(s.err, err)
}

// one publishes one message.
func (s *sender) one(ctx context.Context, data []byte, acks chan *geminio.Publish) {
	msg := s.end.NewMessage(data)
	if s.async == 0 {
		s.count(msg, s.end.Publish(ctx, msg))
		return
	}
	for s.inFlight >= s.async || s.inFlight > 0 && s.pending+len(data) > maxInFlightBytes {
		s.answered(<-acks)
	}
	if _, err := s.end.PublishAsync(ctx, msg, acks); err != nil {
		s.count(msg, err)
		return
	}
	s.inFlight++
	s.pending += len(data)
}

// answered takes the answer to an asynchronous message.
func (s *sender) answered(p *geminio.Publish) {
	s.inFlight--
	s.pending -= len(p.Message.Data())
	s.count(p.Message, p.Error)
}

// count counts the outcome of a message.
func (s *sender) count(msg geminio.Message, err error) {
	switch {
	case err == nil:
	case s.err != nil:
		return
	case errors.Is(err, context.Canceled):
		s.err = errInterrupted
		return
	default:
		s.err = fmt.Errorf("not acknowledged: %w", err)
		return
	}
	s.messages++
	s.bytes += int64(len(msg.Data()))
	s.bar.acked(len(msg.Data()), s.messages)
}

// report prints the number of acknowledged messages.
func (s *sender) report(took time.Duration) {
	seconds := max(took, time.Microsecond).Seconds()
	fmt.Fprintf(s.Stdout, "acknowledged %d messages, %s, in %v: %.0f messages/s, %s/s\n",
		s.messages, cli.Size(s.bytes), took.Round(time.Microsecond),
		float64(s.messages)/seconds, cli.Size(int64(float64(s.bytes)/seconds)))
}
