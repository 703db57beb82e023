package guard

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/singchia/geminio"
)

// Failure is the error of a function of the user that has panicked or ended its
// goroutine.
type Failure struct {
	what    string // the name of the function
	outcome string // "panicked" or "ended its goroutine"
}

// Error implements error. The text does not contain the value of the panic, because it may
// be sent to a peer.
func (f *Failure) Error() string { return f.what + " " + f.outcome }

// Code implements geminio.Coder.
func (f *Failure) Code() geminio.Code { return geminio.CodePanic }

// Run calls f, a function of the user, and then calls then, if that is not nil. The
// argument of then is nil if f has returned; otherwise Run logs a *Failure and passes
// it. The argument what names f in the log. If f has called runtime.Goexit, the
// goroutine ends when then has returned.
func Run(log *slog.Logger, what string, f func(), then func(failed error)) {
	returned := false
	defer func() {
		var failed error
		if v := recover(); v != nil {
			failed = Panicked(log, what, v)
		} else if !returned {
			failed = Exited(log, what)
		}
		if then != nil {
			then(failed)
		}
	}()
	f()
	returned = true
}

// Wait calls f as Run does, in a goroutine of its own, and waits for it. It returns the
// error of f, as Check has found it, or a *Failure.
func Wait(log *slog.Logger, what string, f func() error) error {
	return <-Start(log, what, f)
}

// Start is Wait without the wait: the result arrives on the returned channel.
func Start(log *slog.Logger, what string, f func() error) <-chan error {
	result := make(chan error, 1)
	go func() {
		var err error
		Run(log, what, func() { err = Check(log, f()) }, func(failed error) {
			if failed != nil {
				err = failed
			}
			result <- err
		})
	}()
	return result
}

// Panicked logs that a function of the user, which what names, has panicked with v, and
// returns that as an error. It is called by the function that has recovered.
func Panicked(log *slog.Logger, what string, v any) error {
	log.Error("a function of the user panicked", "function", what, "panic", v, "stack", string(debug.Stack()))
	return &Failure{what, "panicked"}
}

// Exited logs that a function of the user has ended its goroutine, and returns that as
// an error. It is called by a deferred function that finds nothing to recover.
func Exited(log *slog.Logger, what string) error {
	log.Error("a function of the user ended its goroutine", "function", what)
	return &Failure{what, "ended its goroutine"}
}

// Check returns err, or a *Failure if methods of err panic, which is logged.
func Check(log *slog.Logger, err error) (checked error) {
	if err == nil {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			checked = Panicked(log, fmt.Sprintf("the methods of an error of type %T", err), v)
		}
	}()
	describe(err)
	return err
}
