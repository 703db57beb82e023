package options

import (
	"time"

	"github.com/singchia/geminio/internal/merge"
)

// PublishOptions are the options of Publish and PublishAsync.
type PublishOptions struct {
	// Timeout bounds the time of the publication, from the call of Publish to the answer
	// of the receiver. nil stands for the timeout of the message. With zero or less only
	// the context bounds it.
	Timeout *time.Duration
}

// Publish returns PublishOptions in which nothing is set.
func Publish() *PublishOptions {
	return &PublishOptions{}
}

// SetTimeout bounds the time of the publication, from the call of Publish to the answer of the
// receiver, in place of the timeout of the message. With zero or less only the context bounds
// it.
func (opt *PublishOptions) SetTimeout(timeout time.Duration) {
	opt.Timeout = &timeout
}

// MergePublishOptions returns a new value. Each of its fields has the last value that is set in opts. It
// skips nil entries, and changes none.
func MergePublishOptions(opts ...*PublishOptions) *PublishOptions { return merge.Merge(opts...) }
