package setup

import (
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/pairs"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/packet"
)

// Metadata returns md in the form of the handshake. It returns an error if md is not valid, or
// does not fit into the handshake together with a meta of the given number of bytes.
func Metadata(md metadata.MD, meta int) (pairs.List, error) {
	if err := md.Validate(); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	l := pairs.Encode(md)
	if n := meta + len(l); n > packet.MaxHandshakeContent {
		return nil, fmt.Errorf("options: %w", &geminio.LimitError{
			What: "Meta and Metadata, in the handshake", Value: uint64(n), Limit: packet.MaxHandshakeContent, Err: geminio.ErrTooLarge,
		})
	}
	return l, nil
}
