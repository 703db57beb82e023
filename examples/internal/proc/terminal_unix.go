//go:build unix

package proc

import (
	"io"
	"testing"

	"github.com/creack/pty"
)

// StartTerminal starts a program on a terminal of its own. Type types at that terminal. The
// output of the terminal has stdout, stderr and the typed text, with a carriage return before
// each line feed.
func StartTerminal(t testing.TB, binary string, args ...string) *Process {
	t.Helper()
	p := newProcess(t, binary, args)
	terminal, err := pty.Start(p.cmd)
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = terminal
	go func() {
		io.Copy((*output)(p), terminal) // until no process has it open
		p.cmd.Wait()
		terminal.Close()
		p.ended()
	}()
	p.clean()
	return p
}
