package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/singchia/geminio/examples/internal/screen"
)

// Program is one command: its flags, its log and its outputs. Control characters appear as
// escapes if an output is a terminal. Only one goroutine uses a Program; Log is safe for
// concurrent use after Main has set it.
type Program struct {
	Name   string
	Flags  *flag.FlagSet
	Log    *slog.Logger // set by Main, from the flag -v
	Stdout io.Writer
	Stderr io.Writer

	usage string
	level slog.Level
}

// New makes a program. -h prints the usage and then the flags.
func New(name, usage string) *Program {
	p := &Program{Name: name, Stdout: screen.New(os.Stdout), Stderr: screen.New(os.Stderr), usage: usage}
	p.Flags = flag.NewFlagSet(name, flag.ContinueOnError)
	p.Flags.SetOutput(io.Discard) // Main prints the error
	p.Flags.Usage = func() {}
	p.Flags.TextVar(&p.level, "v", slog.LevelWarn, "log from `LEVEL` on: debug, info, warn or error")
	return p
}

// Terminal returns stderr if it is a terminal, and otherwise nil.
func (p *Program) Terminal() *os.File {
	if _, ok := p.Stderr.(*screen.Writer); ok && term.IsTerminal(int(os.Stderr.Fd())) {
		return os.Stderr
	}
	return nil
}

// UsageError is an error of the command line: Main then exits with 2.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Main parses args, runs do, and returns the exit code. The context of do ends on SIGINT or
// SIGTERM; a second signal ends the process at once.
func (p *Program) Main(args []string, do func(context.Context) error) int {
	switch err := p.Flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(p.Stdout, p.usage+"\n"+ExitCodes+"\nFlags:\n")
		p.Flags.SetOutput(p.Stdout)
		p.Flags.PrintDefaults()
		return ExitOK
	case err != nil:
		return p.fail(&UsageError{err.Error()})
	}
	p.Log = slog.New(slog.NewTextHandler(p.Stderr, &slog.HandlerOptions{Level: p.level}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the next signal is no longer caught
	if err := do(ctx); err != nil {
		return p.fail(err)
	}
	return ExitOK
}

func (p *Program) fail(err error) int {
	fmt.Fprintf(p.Stderr, "%s: %v\n", p.Name, err)
	var usage *UsageError
	if errors.As(err, &usage) {
		fmt.Fprintf(p.Stderr, "%s -h explains the flags.\n", p.Name)
		return ExitUsage
	}
	return ExitFailed
}
