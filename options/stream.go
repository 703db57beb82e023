package options

import "github.com/singchia/geminio/internal/merge"

// OpenStreamOptions are the options of OpenStream.
type OpenStreamOptions struct {
	// Meta is the opener's description of the stream, seen on both sides; nil
	// means none.
	Meta []byte
	// Peer names what the stream is meant to reach, seen on both sides; nil
	// means no name.
	Peer *string
}

// OpenStream returns OpenStreamOptions with nothing set.
func OpenStream() *OpenStreamOptions {
	return &OpenStreamOptions{}
}

// SetMeta sets what Meta returns on both sides of the stream. The slice is kept,
// not copied; nil means none.
func (opt *OpenStreamOptions) SetMeta(meta []byte) {
	opt.Meta = meta
}

// SetPeer sets what Peer returns on both sides of the stream.
func (opt *OpenStreamOptions) SetPeer(peer string) {
	opt.Peer = &peer
}

// MergeOpenStreamOptions combines opts into a new value, never nil: nil entries
// are skipped, and of a field set more than once the last one counts. The
// entries are not changed; the result shares their byte slices.
func MergeOpenStreamOptions(opts ...*OpenStreamOptions) *OpenStreamOptions {
	return merge.Merge(opts...)
}
