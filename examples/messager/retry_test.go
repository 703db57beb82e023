package main

// Tests with failures.

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// once returns the lines of text without repeated ones, and the number of repetitions.
func once(text string) (string, int) {
	var b strings.Builder
	seen, repeated := map[string]bool{}, 0
	for line := range strings.Lines(text) {
		if seen[line] {
			repeated++
			continue
		}
		seen[line] = true
		b.WriteString(line)
	}
	return b.String(), repeated
}

// A receiver is killed and replaced by another one. Every line arrives, in
// order, and lines that were written but not acknowledged arrive twice.
func TestReceiverKilled(t *testing.T) {
	const half, count = 10_000, 20_000
	for _, async := range modes {
		t.Run("async "+async, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			r, addr := receive(t, "-o", out)
			p := kit.NewProxy(t, addr)
			s := proc.Start(t, binary, "send", "-connect", p.Addr, "-async", async)
			s.Type(lines(1, half))
			grown(t, out, half/10)
			r.Kill()
			s.Expect("the connection is lost")
			before := strings.Count(content(t, out), "\n")

			r, addr = receive(t, "-o", out)
			p.SetTarget(addr)
			s.Expect("connected again")
			s.Type(lines(half+1, count))
			s.CloseInput()
			assert.Zero(t, s.Wait())
			s.Expect(`acknowledged 20000 messages, `)
			stop(t, r)
			got, repeated := once(content(t, out))
			same(t, lines(1, count), got)
			t.Logf("killed after %d lines; %d lines were repeated", before, repeated)
		})
	}
}

// A receiver that gets a signal answers the lines that it has written. Lines that arrive while it
// closes may arrive twice.
func TestReceiverStopped(t *testing.T) {
	const half, count = 2000, 4000
	for _, async := range modes {
		t.Run("async "+async, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			r, addr := receive(t, "-o", out)
			p := kit.NewProxy(t, addr)
			s := proc.Start(t, binary, "send", "-connect", p.Addr, "-async", async)
			s.Type(lines(1, half))
			grown(t, out, half/10)
			stop(t, r)
			s.Expect("the connection is lost")
			r, addr = receive(t, "-o", out)
			p.SetTarget(addr)
			s.Type(lines(half+1, count))
			s.CloseInput()
			assert.Zero(t, s.Wait())
			s.Expect(`acknowledged 4000 messages, `)
			stop(t, r)
			got, repeated := once(content(t, out))
			same(t, lines(1, count), got)
			t.Logf("%d lines were repeated", repeated)
		})
	}
}

// Connections break while both sides run. The receiver recognizes repeated messages,
// so no line arrives twice.
func TestConnectionCut(t *testing.T) {
	const part, parts = 1000, 5
	for _, async := range modes {
		t.Run("async "+async, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			r, addr := receive(t, "-o", out)
			p := kit.NewProxy(t, addr)
			s := proc.Start(t, binary, "send", "-connect", p.Addr, "-async", async)
			for i := range parts {
				s.Type(lines(i*part+1, (i+1)*part))
				grown(t, out, i*part+part/2)
				require.Equal(t, 1, p.Cut(), "connections")
			}
			s.CloseInput()
			assert.Zero(t, s.Wait())
			s.Expect(`acknowledged 5000 messages, `)
			stop(t, r)
			same(t, lines(1, parts*part), content(t, out))
		})
	}
}

// A sender that gets a signal while there is no receiver prints the number of acknowledged
// messages.
func TestSenderInterrupted(t *testing.T) {
	for _, async := range modes {
		t.Run("async "+async, func(t *testing.T) {
			t.Parallel() // each test waits for the grace
			r, addr := receive(t)
			s := proc.Start(t, binary, "send", "-connect", addr, "-async", async)
			s.Type("one\n")
			r.Expect(`(?m)^one$`)
			r.Kill()
			s.Expect("the connection is lost")
			s.Type("two\n")
			s.Signal(syscall.SIGINT)
			assert.Equal(t, 1, s.Wait())
			s.Expect(`interrupted before all was sent`)
			assert.NotContains(t, s.Output(), "acknowledged 2 messages")
		})
	}
}

// full is a disk without space.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	n := min(f.room, len(b))
	f.room -= n
	if n < len(b) {
		return n, errors.New("no room")
	}
	return n, nil
}

// The receiver does not acknowledge a message that it cannot write, and the sender prints the error.
func TestNotWritten(t *testing.T) {
	r := &receiver{Program: cli.New("test", ""), out: &full{room: 12}}
	require.Zero(t, r.Main(nil, func(context.Context) error { return nil })) // sets the log
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { served <- r.serve(ctx, l) }()

	s := proc.Start(t, binary, "send", "-connect", l.Addr().String())
	s.Type("first\nsecond\nthird\n")
	assert.Equal(t, 1, s.Wait())
	s.Expect("acknowledged 1 messages, 6 bytes")
	s.Expect("not acknowledged: no room")

	// Half of the second line was written, so a third line would not begin on a new line.
	end, err := client.NewEnd("tcp", l.Addr().String())
	require.NoError(t, err)
	err = end.Publish(ctx, end.NewMessage(nil))
	assert.ErrorContains(t, err, "6 of 7 bytes were written")
	end.Close()
	cancel()
	assert.NoError(t, <-served)
}

// A receiver whose output cannot be opened fails at once.
func TestNoOutput(t *testing.T) {
	code, said := proc.Run(t, binary, "receive", "-listen", "127.0.0.1:0", "-o", t.TempDir())
	assert.Equal(t, 1, code)
	assert.Contains(t, said, "is a directory")
	assert.NotContains(t, said, "listening")
	_, err := os.Stat("out")
	assert.True(t, os.IsNotExist(err))
}
