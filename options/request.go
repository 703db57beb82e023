package options

import "github.com/singchia/geminio/internal/merge"

// NewRequestOptions are the options of NewRequest.
type NewRequestOptions struct {
	// Custom has metadata, which is sent beside the data of the request. nil stands for
	// none.
	Custom []byte
}

// NewRequest returns NewRequestOptions in which nothing is set.
func NewRequest() *NewRequestOptions {
	return &NewRequestOptions{}
}

// SetCustom sets metadata, which is sent beside the data of the request. The bytes are not
// copied.
func (opt *NewRequestOptions) SetCustom(custom []byte) {
	opt.Custom = custom
}

// MergeNewRequestOptions returns a new value. Each of its fields has the last value that is set in opts. It
// skips nil entries, and changes none. The result shares their byte slices.
func MergeNewRequestOptions(opts ...*NewRequestOptions) *NewRequestOptions {
	return merge.Merge(opts...)
}
