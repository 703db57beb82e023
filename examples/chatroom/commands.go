package main

// The commands of the user.

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

const help = `* /who               who is here
* /msg NAME TEXT     say something to one of them
* /quit              leave
* anything else is said to all`

// leaveTimeout bounds the time for leaving.
const leaveTimeout = time.Second

// do executes a line, and waits until that is done, also over reconnects. It returns false if
// the user leaves.
func (c *chatClient) do(ctx context.Context, line typedLine) bool {
	command, rest, _ := strings.Cut(strings.TrimSpace(line.text), " ")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	switch {
	case line.err != nil:
		err = line.err
	case command == "":
	case !strings.HasPrefix(command, "/"):
		err = c.publish(ctx, topicSay, line.text)
	case command == "/who":
		err = c.printMembers(ctx)
	case command == "/msg":
		err = c.tell(ctx, strings.TrimSpace(rest))
	case command == "/quit":
		return false
	case command == "/help":
		for text := range strings.Lines(help) {
			c.print("%s", strings.TrimSuffix(text, "\n"))
		}
	default:
		err = errors.New("there is no " + command + "; /help tells what there is")
	}
	switch {
	case err == nil, err == io.EOF, ctx.Err() != nil: // done, or the client ends
	case errors.Is(err, geminio.ErrMaybeExecuted):
		c.complain(line, "the connection was lost, and it is not known whether this has arrived: %s", line.text)
	case errors.Is(err, geminio.ErrNotExecuted):
		c.complain(line, "this has not arrived: %s", line.text)
	default:
		c.complain(line, "%v", err)
	}
	return true
}

// publish publishes a message. If the connection is lost, the End publishes it again, and the
// server receives it once.
func (c *chatClient) publish(ctx context.Context, topic, text string) error {
	opt := options.NewMessage()
	opt.SetTopic(topic)
	return c.end.Publish(ctx, c.end.NewMessage([]byte(text), opt))
}

// printMembers prints the names of the members. The call is idempotent.
func (c *chatClient) printMembers(ctx context.Context) error {
	opt := options.Call()
	opt.SetIdempotent(true)
	resp, err := c.end.Call(ctx, methodWho, c.end.NewRequest(nil), opt)
	if err != nil {
		return err
	}
	var here []string
	if err := json.Unmarshal(resp.Data(), &here); err != nil {
		return err
	}
	c.print("* here: %s", strings.Join(here, ", "))
	return nil
}

// tell sends a line to one member. It is a call, since the answer says whether there is a
// member of that name.
func (c *chatClient) tell(ctx context.Context, rest string) error {
	to, text, _ := strings.Cut(rest, " ")
	if strings.TrimSpace(text) == "" {
		return errors.New("/msg NAME TEXT, please")
	}
	data, err := json.Marshal(event{To: to, Text: text})
	if err != nil {
		return err
	}
	if _, err := c.end.Call(ctx, methodTell, c.end.NewRequest(data)); err != nil {
		return err
	}
	c.print("[you to %s] %s", to, text)
	return nil
}

// leave tells the server that the user leaves, if there is a connection, and closes the End.
func (c *chatClient) leave() {
	c.over.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	c.publish(ctx, topicQuit, "")
	c.end.Close()
}
