//go:build unix

package proc

import (
	"io"
	"testing"

	"github.com/creack/pty"
)

// StartTerminal starts a program on a terminal of its own, which Type types at, and which has
// what both outputs print, with a carriage return in front of each line feed, and with
// what is typed.
func StartTerminal(t testing.TB, binary string, args ...string) *Process {
	t.Helper()
	p := newProcess(t, binary, args)
	terminal, err := pty.Start(p.cmd)
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = terminal
	go func() {
		io.Copy((*output)(p), terminal) // until nobody has it open any more
		p.cmd.Wait()
		terminal.Close()
		p.ended()
	}()
	p.clean()
	return p
}
