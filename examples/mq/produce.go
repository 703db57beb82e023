package main

// The producer: it publishes lines until the broker has stored them, over any number of
// connections and restarts of the broker.

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/options"
)

const produceUsage = `mq produce publishes each line of stdin as a message, and waits until the broker has
stored it. If the connection or the broker is lost, it reconnects and continues. If the
topic is full, it waits until there is space. A line above the largest message is
reported and not published; the following lines are.

  mq produce [FLAGS] -topic T

On SIGINT or SIGTERM it reads no more lines, waits a few seconds for the answers, and
prints the number of acknowledged messages. A second signal ends it at once.
`

const (
	maxAsync      = 1 << 16  // messages
	maxAsyncBytes = 32 << 20 // except for a single message
	maxLine       = 16 << 20 // the limit of the broker is lower
)

// errInterrupted is the error if a signal ends the producer.
var errInterrupted = errors.New("interrupted before all was published")

// producer is one run of mq produce. Only one goroutine uses it.
type producer struct {
	*peer
	topic   string
	async   int
	timeout time.Duration

	session  string // the prefix of the names of its messages
	messages uint64 // published messages
	inFlight int
	pending  int                        // bytes of messages without an answer
	numbers  map[geminio.Message]uint64 // the numbers of messages without an answer
	tooLong  int
	stored   int // acknowledged messages
	waits    cli.Seldom
	err      error
}

func produceMain(args []string) int {
	p := &producer{peer: newPeer("mq produce", produceUsage), session: rand.Text(), numbers: make(map[geminio.Message]uint64)}
	p.Flags.StringVar(&p.topic, "topic", "", "publish to the topic `T`")
	p.Flags.IntVar(&p.async, "async", 0, "have up to `N` messages in flight; 0: one after the other")
	p.Flags.DurationVar(&p.timeout, "timeout", 0, "give up if a message is not stored after that `TIME`; 0: never")
	return p.Main(args, p.run)
}

// run publishes the whole input, until ctx ends.
func (p *producer) run(ctx context.Context) error {
	switch {
	case p.Flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", p.Flags.Arg(0))
	case p.topic == "":
		return cli.Usagef("which -topic?")
	case p.async < 0 || p.async > maxAsync:
		return cli.Usagef("-async is from 0 to %d", maxAsync)
	case p.timeout < 0:
		return cli.Usagef("-timeout is not below 0")
	}
	if err := checkName("topic", p.topic); err != nil {
		return cli.Usagef("%v", err)
	}
	if err := p.dial(ctx); err != nil {
		return err
	}
	defer p.close()
	start := time.Now()
	err := p.publish(ctx)
	took := time.Since(start)
	fmt.Fprintf(p.Stdout, "acknowledged %d messages in %v: %.0f messages/s\n",
		p.stored, took.Round(time.Microsecond), float64(p.stored)/max(took, time.Microsecond).Seconds())
	return err
}

// publish publishes the lines, and waits for the answers. It stops at the first message
// that is refused, and when ctx ends. Then it waits for the answers to the messages under
// way, for a bounded time.
func (p *producer) publish(ctx context.Context) error {
	published, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()

	// A goroutine reads, since reading may wait for the user and must not delay a signal.
	data, read := make(chan line), make(chan error, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() { read <- lines(os.Stdin, data, stop) }()

	acks := make(chan *geminio.Publish, max(p.async, 1)) // a buffer for all messages under way
	var err error
	for more := true; more && p.err == nil; {
		select {
		case line := <-data:
			p.one(published, line, acks)
		case a := <-acks:
			p.answered(a)
		case err = <-read:
			more = false
		case <-p.end.Done():
			err, more = p.end.Cause(), false
		case <-ctx.Done():
			err, more = errInterrupted, false
		}
	}
	if p.err != nil {
		// Messages after a failed one may still be stored, but their timeouts end later
		// than that of the failed one.
		patience := grace
		if p.timeout > 0 {
			patience = min(grace, p.timeout/10)
		}
		defer time.AfterFunc(patience, cancel).Stop()
	}
	p.await(0, acks)
	if p.tooLong > 0 {
		err = cmp.Or(err, fmt.Errorf("%d lines are too long and were not published", p.tooLong))
	}
	return cmp.Or(p.err, err)
}

// told is the time without an answer after which the producer reports the wait.
const told = 5 * time.Second

// await waits until at most the given number of messages is under way.
func (p *producer) await(inFlight int, acks chan *geminio.Publish) {
	late := time.NewTicker(told)
	defer late.Stop()
	for start := time.Now(); p.inFlight > inFlight; {
		select {
		case a := <-acks:
			p.answered(a)
			start = time.Now()
			late.Reset(told)
		case <-late.C:
			waits := time.Since(start).Round(time.Second)
			if p.waits.Now("") {
				p.Log.Warn(fmt.Sprintf("no message was acknowledged for %v: the topic may be full, or the broker or its storage is not there", waits))
			}
		}
	}
}

// line is one line of the input, or the beginning of one that is too long.
type line struct {
	data   []byte
	length int
}

// lines reads lines, without their ends, each into newly allocated memory: the data of a
// message must not change until the message is answered.
func lines(r io.Reader, data chan<- line, stop <-chan struct{}) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		text, length, err := cli.ReadLine(in, maxLine)
		if length > 0 || err == nil {
			select {
			case data <- line{text, length}:
			case <-stop:
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

// one publishes one message. The message has the same name each time it is published, so
// the broker stores it once.
func (p *producer) one(ctx context.Context, line line, acks chan *geminio.Publish) {
	p.messages++
	data := line.data
	if line.length > len(data) {
		p.refused(p.messages, fmt.Errorf("it has %d bytes: at most %d", line.length, maxLine))
		return
	}
	opt := options.NewMessage()
	opt.SetTopic(p.topic)
	opt.SetCustom([]byte(p.session + "-" + strconv.FormatUint(p.messages, 10)))
	msg := p.end.NewMessage(data, opt)
	number := p.messages
	msg.SetTimeout(p.timeout)
	p.await(max(p.async, 1)-1, acks)
	for p.inFlight > 0 && p.pending+len(data) > maxAsyncBytes {
		p.await(p.inFlight-1, acks)
	}
	if p.err != nil {
		return
	}
	if _, err := p.end.PublishAsync(ctx, msg, acks); err != nil {
		p.count(number, err)
		return
	}
	p.numbers[msg] = number
	p.inFlight++
	p.pending += len(data)
	if p.async == 0 {
		p.await(0, acks)
	}
}

// answered takes the answer to a message.
func (p *producer) answered(a *geminio.Publish) {
	p.inFlight--
	p.pending -= len(a.Message.Data())
	number := p.numbers[a.Message]
	delete(p.numbers, a.Message)
	p.count(number, a.Error)
}

// refused reports that a line is too long. The following lines are still published.
func (p *producer) refused(number uint64, err error) {
	p.tooLong++
	fmt.Fprintf(p.Stderr, "%s: line %d: %v\n", p.Name, number, err)
}

// count counts the outcome of a message.
func (p *producer) count(number uint64, err error) {
	switch {
	case err == nil:
		p.stored++
	case errors.Is(err, geminio.ErrTooLarge):
		p.refused(number, err)
	case p.err != nil:
	case errors.Is(err, context.Canceled):
		p.err = errInterrupted
	case errors.Is(err, context.DeadlineExceeded) && !errors.As(err, new(*geminio.RemoteError)):
		p.err = fmt.Errorf("not acknowledged in %v: the topic is full, or the broker or its storage is not there", p.timeout)
	default:
		p.err = fmt.Errorf("not acknowledged: %w", err)
	}
}
