package main

// The commands of the user.

import (
	"context"
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
		err = topicSay.Publish(ctx, c.end, line.text) // again after a reconnect; the server receives it once
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

// printMembers prints the names of the members. The call is idempotent.
func (c *chatClient) printMembers(ctx context.Context) error {
	opt := options.Call()
	opt.SetIdempotent(true)
	here, err := methodWho.Call(ctx, c.end, struct{}{}, opt)
	if err != nil {
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
	if _, err := methodTell.Call(ctx, c.end, told{To: to, Text: text}); err != nil {
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
	topicQuit.Publish(ctx, c.end, struct{}{})
	c.end.Close()
}
