package main

import (
	"bufio"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/kit"
)

// readmeCommands returns the command lines of the README.
func readmeCommands(t *testing.T) (lines []string) {
	t.Helper()
	f, err := os.Open("README.md")
	require.NoError(t, err)
	defer f.Close()
	in := false
	for s := bufio.NewScanner(f); s.Scan(); {
		switch line := s.Text(); {
		case strings.HasPrefix(line, "```"):
			in = line == "```sh"
		case in:
			lines = append(lines, line)
		}
	}
	return lines
}

// Each command of the README succeeds. Those that run until they are interrupted are.
func TestReadme(t *testing.T) {
	address, _, log := serveLogged(t, "127.0.0.1:0", "--inspect", "127.0.0.1:0")
	inspector := inspectorOf(t, log)
	lines := readmeCommands(t)
	require.Greater(t, len(lines), 8)
	for _, line := range lines {
		in := ""
		if first, rest, ok := strings.Cut(line, " | "); ok {
			in = strings.Trim(strings.TrimPrefix(first, "echo "), `"`) + "\n"
			line = rest
		}
		words := strings.Fields(line)
		require.Equal(t, "geminio", words[0], line)
		words = words[1:]
		for i := range words {
			words[i] = strings.ReplaceAll(strings.Trim(words[i], `"`), "localhost:8080", address)
			words[i] = strings.ReplaceAll(words[i], "localhost:6060", inspector)
		}
		switch words[0] {
		case "serve": // it runs already
		case "receive":
			ctx, cancel := context.WithCancel(t.Context())
			var out, errOut buffer
			done := kit.Start(func() int { return run(ctx, words, strings.NewReader(in), &out, &errOut) })
			cancel()
			require.Contains(t, []int{exitOK, exitInterrupt}, kit.Await(t, kit.Forever, line, done), errOut.String())
		default:
			want(t, in, words...)
		}
	}
}
