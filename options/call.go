package options

import (
	"time"

	"github.com/singchia/geminio/internal/merge"
)

// CallOptions are the options of Call and CallAsync.
type CallOptions struct {
	// Timeout bounds the time of the call, from its beginning. nil stands for the timeout
	// of the request. With zero or less only the context bounds the call.
	Timeout *time.Duration
	// Idempotent says that the call may be executed more than once. nil stands for false.
	Idempotent *bool
}

// Call returns CallOptions in which nothing is set.
func Call() *CallOptions {
	return &CallOptions{}
}

// SetTimeout bounds the time of the call, from its beginning, in place of the timeout of the
// request. With zero or less only the context bounds the call.
func (opt *CallOptions) SetTimeout(timeout time.Duration) {
	opt.Timeout = &timeout
}

// SetIdempotent says whether the call may be executed more than once. If so, a client.RetryEnd
// repeats the call when it loses its connection while the call is under way. Otherwise the
// call returns an error that matches geminio.ErrMaybeExecuted then. Other Ends ignore this
// option.
func (opt *CallOptions) SetIdempotent(idempotent bool) {
	opt.Idempotent = &idempotent
}

// MergeCallOptions returns a new value. Each of its fields has the last value that is set in opts. It
// skips nil entries, and changes none.
func MergeCallOptions(opts ...*CallOptions) *CallOptions { return merge.Merge(opts...) }
