//go:build unix

package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/server"
)

// A hostile server cannot control the terminal of a client, and cannot make text look like
// another line.
func TestHostileServer(t *testing.T) {
	const hostile = "\x1b[2J\u009b31m \u202eevil\u200b \x07\n* ada has joined\r\u2028!"
	const shown = `\x1b[2J\u009b31m \u202eevil\u200b \x07\n* ada has joined\r\u2028!`
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(methodWho.Handler(func(context.Context, struct{}) ([]string, error) {
		return []string{"w" + hostile}, nil
	}))
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	require.NoError(t, err)
	served := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-served
	})
	go func() {
		defer close(served)
		for {
			end, err := l.AcceptEnd()
			if err != nil {
				return
			}
			for _, e := range []event{
				{Kind: kindHello, To: "to" + hostile, Text: "1", Here: []string{"h" + hostile}},
				{Kind: kindLine, From: "f" + hostile, Text: "line" + hostile, Line: 1},
				{Kind: kindTold, From: "f" + hostile, Text: "told" + hostile},
				{Kind: kindJoined, From: "j" + hostile},
				{Kind: kindLeft, From: "l" + hostile, Text: "why" + hostile},
				{Kind: kindNotice, Text: "n" + hostile},
			} {
				assert.NoError(t, topicEvent.Publish(context.Background(), end, e))
			}
			msg, err := end.Receive(context.Background())
			if assert.NoError(t, err) {
				msg.Error(assert.AnError)
			}
			for err == nil {
				if msg, err = end.Receive(context.Background()); err == nil {
					msg.Done()
				}
			}
			end.Close()
		}
	}()

	c := proc.StartTerminal(t, binary, "join", "-connect", l.Addr().String(), "bob")
	c.Type("something\n")
	c.Expect(assert.AnError.Error())
	c.Type("/who\n")
	c.Expect(`\* here: w`)
	c.Type("/quit\n")
	assert.Zero(t, c.Wait(), "the terminal has shown the errors, so the exit code is 0")
	got := c.Output()
	for _, want := range []string{
		"* you are to" + shown + "; here: h" + shown + "\r\n", "<f" + shown + "> line" + shown + "\r\n",
		"[f" + shown + " to you] told" + shown + "\r\n", "* j" + shown + " has joined\r\n",
		"* l" + shown + " has left (why" + shown + ")\r\n", "* n" + shown + "\r\n", "* here: w" + shown + "\r\n",
	} {
		assert.Contains(t, got, want)
	}
	for _, harmful := range []string{"\x1b", "\u009b", "\u202e", "\u200b", "\x07", "\u2028"} {
		assert.NotContains(t, got, harmful)
	}
}
