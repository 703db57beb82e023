package options

import (
	"time"

	"github.com/singchia/geminio/internal/merge"
)

// OpenStreamOptions are the options of OpenStream.
type OpenStreamOptions struct {
	// Meta is the opener's description of the stream, seen on both sides; nil
	// means none.
	Meta []byte
	// Peer names what the stream is meant to reach, seen on both sides; nil
	// means no name.
	Peer *string
	// Timeout is the longest time that opening may take, counted from OpenStream.
	// nil, zero and less mean no limit.
	Timeout *time.Duration
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

// SetTimeout bounds the time that OpenStream may take, the wait of an End that
// reconnects for a connection included: it returns context.DeadlineExceeded then.
// Zero or less means no limit, which is the default.
func (opt *OpenStreamOptions) SetTimeout(timeout time.Duration) {
	opt.Timeout = &timeout
}

// MergeOpenStreamOptions combines opts into a new value, never nil: nil entries
// are skipped, and of a field set more than once the last one counts. The
// entries are not changed; the result shares their byte slices.
func MergeOpenStreamOptions(opts ...*OpenStreamOptions) *OpenStreamOptions {
	return merge.Merge(opts...)
}
