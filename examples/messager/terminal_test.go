//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

// Control characters of a sender, and characters that hide or reverse text, appear as escapes on
// a terminal. A file and a pipe get the bytes unchanged.
func TestTerminal(t *testing.T) {
	const hostile = "\x1b[2J\x1b]0;title\x07 \u009b31m \x9b31m \u202etxt.exe\u202c pass\u200bword over\rwritten \x08\n"
	const harmless = "family 👨\u200d👩\u200d👧, flag 🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f, می\u200cخواهم\ttab\n"
	in := filepath.Join(t.TempDir(), "in")
	require.NoError(t, os.WriteFile(in, []byte(hostile+harmless), 0o600))

	r := proc.StartTerminal(t, binary, "receive", "-listen", "127.0.0.1:0")
	addr := r.Expect(`listening on (\S+)\r\n`)[1]
	for _, flags := range [][]string{nil, {"-chunk", "3"}} { // pieces that split characters
		before := len(r.Output())
		code, said := proc.Run(t, binary, append(append([]string{"send", "-connect", addr}, flags...), in)...)
		assert.Zero(t, code, said)
		r.Expect(`(?s)(tab\r\n.*){` + string(rune('1'+len(flags)/2)) + `}`)
		got := r.Output()[before:]
		assert.Contains(t, got, `\x1b[2J\x1b]0;title\x07 \u009b31m \x9b31m \u202etxt.exe\u202c pass\u200bword over\rwritten \x08`)
		if flags == nil {
			assert.Contains(t, got, strings.TrimSuffix(harmless, "\n"))
		}
		for _, harmful := range []string{"\x1b", "\u009b", "\x9b3", "\u202e", "\u200b", "\x07", "\x08"} {
			assert.NotContains(t, got, harmful)
		}
	}
	stop(t, r)

	r, addr = receive(t)
	code, said := proc.Run(t, binary, "send", "-connect", addr, in)
	assert.Zero(t, code, said)
	r.Expect(`tab\n`)
	assert.Contains(t, r.Output(), hostile+harmless)
	stop(t, r)
}
