package options

import (
	"time"

	"github.com/singchia/geminio/internal/merge"
)

// CallOptions are the options of Call and CallAsync.
type CallOptions struct {
	// Timeout is the longest time the call may take, counted from the call. nil
	// leaves it to the request's own timeout; zero or less means no limit
	// beside the context.
	Timeout *time.Duration
	// Idempotent says that the call may be executed more than once. nil is false.
	Idempotent *bool
}

// Call returns CallOptions with nothing set.
func Call() *CallOptions {
	return &CallOptions{}
}

// SetTimeout sets the longest time the call may take, in place of the request's
// own timeout. Zero or less means no limit beside the context.
func (opt *CallOptions) SetTimeout(timeout time.Duration) {
	opt.Timeout = &timeout
}

// SetIdempotent says that the call may be executed more than once. An End that
// reconnects by itself then repeats a call that was under way when its connection
// broke, instead of returning an error that matches geminio.ErrMaybeExecuted.
// Other Ends ignore it.
func (opt *CallOptions) SetIdempotent(idempotent bool) {
	opt.Idempotent = &idempotent
}

// MergeCallOptions combines opts into a new value, never nil: nil entries are
// skipped, and of a field set more than once the last one counts. The entries
// are not changed.
func MergeCallOptions(opts ...*CallOptions) *CallOptions { return merge.Merge(opts...) }
