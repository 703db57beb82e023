package options

import "github.com/singchia/geminio/internal/merge"

// NewRequestOptions are the options of NewRequest.
type NewRequestOptions struct {
	// Custom is the metadata that travels beside the request's data; nil means
	// none.
	Custom []byte
}

// NewRequest returns NewRequestOptions with nothing set.
func NewRequest() *NewRequestOptions {
	return &NewRequestOptions{}
}

// SetCustom sets the metadata that travels beside the request's data. The slice
// is kept, not copied; nil means none.
func (opt *NewRequestOptions) SetCustom(custom []byte) {
	opt.Custom = custom
}

// MergeNewRequestOptions combines opts into a new value, never nil: nil entries
// are skipped, and of a field set more than once the last one counts. The
// entries are not changed; the result shares their byte slices.
func MergeNewRequestOptions(opts ...*NewRequestOptions) *NewRequestOptions {
	return merge.Merge(opts...)
}
