package options

import (
	"time"

	"github.com/singchia/geminio/internal/merge"
)

// OpenStreamOptions are the options of OpenStream.
type OpenStreamOptions struct {
	// Meta has bytes that describe the stream to both sides. nil stands for none.
	Meta []byte
	// Peer is the name of the destination of the stream, for both sides. nil stands for
	// the empty name.
	Peer *string
	// Timeout bounds the time of OpenStream. nil, zero and less stand for no bound.
	Timeout *time.Duration
}

// OpenStream returns OpenStreamOptions in which nothing is set.
func OpenStream() *OpenStreamOptions {
	return &OpenStreamOptions{}
}

// SetMeta sets the bytes that Meta of the stream returns on both sides. They are not copied.
func (opt *OpenStreamOptions) SetMeta(meta []byte) {
	opt.Meta = meta
}

// SetPeer sets the name that Peer of the stream returns on both sides.
func (opt *OpenStreamOptions) SetPeer(peer string) {
	opt.Peer = &peer
}

// SetTimeout bounds the time of OpenStream, including the wait of a client.RetryEnd for a
// connection. After that time OpenStream returns an error that matches
// context.DeadlineExceeded. Zero, less and the default stand for no bound; without one,
// SetConnectWait bounds the wait for a connection.
func (opt *OpenStreamOptions) SetTimeout(timeout time.Duration) {
	opt.Timeout = &timeout
}

// MergeOpenStreamOptions returns a new value. Each of its fields has the last value that is set in opts. It
// skips nil entries, and changes none. The result shares their byte slices.
func MergeOpenStreamOptions(opts ...*OpenStreamOptions) *OpenStreamOptions {
	return merge.Merge(opts...)
}
