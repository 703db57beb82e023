package options

import (
	"time"

	"github.com/singchia/geminio/internal/merge"
)

// PublishOptions are the options of Publish and PublishAsync.
type PublishOptions struct {
	// Timeout is the longest time to wait for the receiver's answer, counted
	// from the call. nil leaves it to the message's own timeout; zero or less
	// means no limit beside the context.
	Timeout *time.Duration
}

// Publish returns PublishOptions with nothing set.
func Publish() *PublishOptions {
	return &PublishOptions{}
}

// SetTimeout sets the longest time to wait for the receiver's answer, in place
// of the message's own timeout. Zero or less means no limit beside the context.
func (opt *PublishOptions) SetTimeout(timeout time.Duration) {
	opt.Timeout = &timeout
}

// MergePublishOptions combines opts into a new value, never nil: nil entries are
// skipped, and of a field set more than once the last one counts. The entries
// are not changed.
func MergePublishOptions(opts ...*PublishOptions) *PublishOptions { return merge.Merge(opts...) }
