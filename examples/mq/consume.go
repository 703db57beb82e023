package main

// The consumer: it subscribes, also after reconnects, and acknowledges messages after it
// has written them.

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/cli"
)

const consumeUsage = `mq consume writes each message of its group as a line to stdout or a file, and then
acknowledges it. With -exec it runs a command for each message, with the message as stdin.
Consumers of the same group share the messages of a topic; each group gets all of them.
If the connection or the broker is lost, it reconnects and continues.

  mq consume [FLAGS] -topic T

On SIGINT or SIGTERM it finishes the current message and ends. Its other messages go to
other consumers. A second signal ends it at once.
`

// consumer is one run of mq consume.
type consumer struct {
	*peer
	subscription
	output, command string
	separator       *string // the value of the flag; nil: not set
	count           int
	work            time.Duration

	accepted chan geminio.Stream
	attempts uint64
	out      io.Writer
	consumed int
}

func consumeMain(args []string) int {
	c := &consumer{peer: newPeer("mq consume", consumeUsage), accepted: make(chan geminio.Stream)}
	c.Flags.StringVar(&c.Topic, "topic", "", "consume the topic `T`")
	c.Flags.StringVar(&c.Group, "group", "default", "as one of the group `G`")
	c.Flags.IntVar(&c.Window, "window", 64, "let the broker send `N` messages ahead; those after a slow one wait for it here, and not with another consumer")
	c.Flags.IntVar(&c.count, "count", 0, "end after `N` messages; 0: never")
	c.Flags.StringVar(&c.output, "o", "", "append to `FILE` instead of writing to stdout")
	c.Flags.StringVar(&c.command, "exec", "", "run the shell command `CMD` for each message, instead of writing it; if it fails the message is delivered again, after a while")
	c.Flags.Func("separator", `have the TEXT behind each message, in which \n, \t, \x00 and so on mean what they do in Go; without the flag it is a newline where messages are written, and nothing for -exec: `+"`TEXT`", c.setSeparator)
	c.Flags.DurationVar(&c.work, "work", 0, "take that `TIME` for each message, as if it were work")
	return c.Main(args, c.run)
}

// setSeparator sets the value of the flag -separator.
func (c *consumer) setSeparator(text string) error {
	separator, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
	if err != nil {
		return fmt.Errorf("%q is no text with escapes as Go has them", text)
	}
	c.separator = &separator
	return nil
}

// ended returns the data of a message, followed by the separator.
func (c *consumer) ended(data []byte) []byte {
	separator := ""
	switch {
	case c.separator != nil:
		separator = *c.separator
	case c.command == "":
		separator = "\n"
	}
	return append(bytes.Clone(data), separator...)
}

// run consumes until ctx ends.
func (c *consumer) run(ctx context.Context) error {
	switch {
	case c.Flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", c.Flags.Arg(0))
	case c.Topic == "":
		return cli.Usagef("which -topic?")
	case c.Window < 1 || c.Window > maxWindow:
		return cli.Usagef("-window is from 1 to %d", maxWindow)
	case c.command != "" && c.output != "":
		return cli.Usagef("-exec and -o contradict each other")
	}
	if err := c.check(); err != nil {
		return cli.Usagef("%v", err)
	}
	c.out = c.Stdout
	if c.output != "" {
		file, err := os.OpenFile(c.output, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
		if err != nil {
			return err
		}
		defer file.Close()
		c.out = file
	}
	if err := c.dial(ctx, methodSubscribe); err != nil {
		return err
	}
	defer c.close()
	go c.accept()
	err := c.consume(ctx)
	fmt.Fprintf(c.Stderr, "consumed %d messages\n", c.consumed)
	return err
}

// accept passes on the streams that the broker opens, until the End is closed.
func (c *consumer) accept() {
	for {
		stream, err := c.end.AcceptStream()
		if err != nil {
			return
		}
		select {
		case c.accepted <- stream:
		case <-c.end.Done():
			return
		}
	}
}

// consume subscribes and consumes until ctx ends or the number of messages is reached. It
// subscribes again when a stream ends.
func (c *consumer) consume(ctx context.Context) error {
	for ctx.Err() == nil && !c.enough() {
		stream, err := c.subscribe(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		err = c.take(ctx, stream)
		stream.Close() // unanswered messages go to other consumers
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *consumer) enough() bool { return c.count > 0 && c.consumed >= c.count }

// subscribe returns the stream of a new subscription. It calls the broker again if the
// broker asks for it, or if the connection is lost before the stream arrives.
func (c *consumer) subscribe(ctx context.Context) (geminio.Stream, error) {
	for {
		c.attempts++
		c.ID = strconv.FormatUint(c.attempts, 10)
		var answer subscribed
		if err := c.ask(ctx, methodSubscribe, c.subscription, &answer); err != nil {
			return nil, fmt.Errorf("subscribing to %s: %w", c.Topic, cmp.Or(c.end.Cause(), err))
		}
		if answer.Later != "" {
			c.Log.Info("not subscribed yet", "why", answer.Later)
			if !sleep(ctx, retryPause) {
				return nil, ctx.Err()
			}
			continue
		}
		stream, err := c.await(ctx)
		if stream != nil || err != nil {
			return stream, err
		}
	}
}

// await waits for the stream of a subscription. The broker has opened the stream before
// its answer. If the stream does not arrive, the connection was lost, and await returns
// nil.
func (c *consumer) await(ctx context.Context) (geminio.Stream, error) {
	late := time.NewTimer(engineAnswer)
	defer late.Stop()
	for {
		select {
		case stream := <-c.accepted:
			if string(stream.Meta()) == c.ID {
				c.Log.Info("subscribed", "topic", c.Topic, "group", c.Group)
				return stream, nil
			}
			stream.Close() // the stream of an earlier attempt
		case <-late.C:
			return nil, nil
		case <-c.end.Done():
			return nil, c.end.Cause()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take consumes the messages of a stream until the stream or ctx ends, or the number of
// messages is reached. When the stream has ended, its remaining messages go to other
// consumers, so take drops them.
func (c *consumer) take(ctx context.Context, stream geminio.Stream) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(io.Discard, stream) // the broker writes no bytes
	}()
	for !c.enough() {
		msg, err := stream.Receive(ctx)
		if err != nil {
			return nil
		}
		select {
		case <-ended:
			return nil
		default:
		}
		err = c.do(ctx, msg)
		switch {
		case err == nil:
			// Done comes after the work, since the broker then deletes the message. If
			// Done does not arrive, the broker delivers the message again.
			c.consumed++
			err = msg.Done()
		case ctx.Err() != nil:
			return nil
		default:
			c.Log.Warn("a message was not consumed", "err", err)
			err = msg.Error(err)
		}
		if err != nil {
			c.Log.Info("the answer is not sent: the message is delivered again", "err", err)
		}
	}
	return nil
}

// do processes a message: it writes it or runs the command.
func (c *consumer) do(ctx context.Context, msg geminio.Message) error {
	var d delivery
	if err := json.Unmarshal(msg.Custom(), &d); err != nil {
		c.Log.Warn("the broker does not say which message this is", "err", err)
	}
	c.Log.Info("message", "topic", msg.Topic(), "sequence", d.Sequence, "delivery", d.Nth)
	if c.work > 0 && !sleep(ctx, c.work) {
		return ctx.Err()
	}
	if c.command == "" {
		_, err := c.out.Write(c.ended(msg.Data())) // with one call
		return err
	}
	command := exec.Command("sh", "-c", c.command)
	command.Stdin = bytes.NewReader(c.ended(msg.Data()))
	command.Stdout, command.Stderr = c.Stdout, c.Stderr
	command.Env = append(os.Environ(), d.environment(msg.Topic())...)
	stop := context.AfterFunc(ctx, func() {
		fmt.Fprintf(c.Stderr, "waiting for the command of -exec, which has message %d of topic %s\n", d.Sequence, msg.Topic())
	})
	defer stop()
	return command.Run()
}

// environment returns the variables of a message for a command of -exec.
func (d delivery) environment(topic string) []string {
	env := []string{
		"MQ_TOPIC=" + topic,
		"MQ_SEQUENCE=" + strconv.FormatUint(d.Sequence, 10),
		"MQ_DELIVERY=" + strconv.FormatUint(d.Nth, 10),
	}
	if d.Dead != nil {
		env = append(env,
			"MQ_FROM_TOPIC="+d.Dead.Topic,
			"MQ_FROM_GROUP="+d.Dead.Group,
			"MQ_FROM_SEQUENCE="+strconv.FormatUint(d.Dead.Sequence, 10),
			"MQ_FAILURES="+strconv.Itoa(d.Dead.Failures),
			"MQ_ERROR="+d.Dead.Reason)
	}
	return env
}
