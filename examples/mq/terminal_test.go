//go:build unix

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

// Control characters of a producer, and characters that hide or reorder text, appear as
// escapes on a terminal, whether the consumer or a command of -exec writes the message. A
// pipe gets the bytes unchanged.
func TestTerminal(t *testing.T) {
	const hostile = "\x1b[2J\x1b]0;title\x07 \u009b31m \x9b31m \u202etxt.exe\u202c pass\u200bword over\rwritten \x08"
	const shown = `\x1b[2J\x1b]0;title\x07 \u009b31m \x9b31m \u202etxt.exe\u202c pass\u200bword over\rwritten \x08`
	const harmless = "family 👨\u200d👩\u200d👧, می\u200cخواهم\ttab"
	b, addr := startBroker(t, "-group", "t/written", "-group", "t/executed", "-group", "t/piped")
	produce(t, addr, hostile+"\n"+harmless+"\n")
	consume := func(group string, flags ...string) []string {
		return append([]string{"consume", "-connect", addr, "-topic", "t", "-count", "2", "-group", group}, flags...)
	}
	for _, args := range [][]string{consume("written"), consume("executed", "-exec", "cat", "-separator", `\n`)} {
		c := proc.StartTerminal(t, binary, args...)
		assert.Zero(t, c.Wait(), "exit code of\n%s", c.Output())
		got := c.Output()
		assert.Contains(t, got, shown)
		assert.Contains(t, got, harmless)
		for _, harmful := range []string{"\x1b", "\u009b", "\x9b3", "\u202e", "\u200b", "\x07", "\x08"} {
			assert.NotContains(t, got, harmful)
		}
	}
	code, said := proc.Run(t, binary, consume("piped")...)
	assert.Zero(t, code)
	assert.Equal(t, hostile+"\n"+harmless+"\nconsumed 2 messages\n", said)
	stop(t, b)
}

// A consumer that gets a signal reports that it waits for the command of -exec.
func TestExecIsAwaited(t *testing.T) {
	b, addr := startBroker(t, "-group", "t/g")
	t.Setenv("FILE", filepath.Join(t.TempDir(), "file"))
	c := startConsumer(t, addr, "g", "-exec", `echo begun; until test -e "$FILE"; do sleep 0.05; done`)
	produce(t, addr, "message\n")
	c.Expect("begun")
	c.Signal(syscall.SIGTERM)
	c.Expect("waiting for the command of -exec, which has message 1 of topic t\n")
	require.NoError(t, os.WriteFile(os.Getenv("FILE"), nil, 0o600))
	assert.Zero(t, c.Wait())
	c.Expect("consumed 1 messages")
	stop(t, b)
}
