package packet

import (
	"encoding/binary"
	"fmt"

	"github.com/singchia/geminio/internal/pairs"
)

// MaxMetadata is the default of Settings.MaxMetadata, in bytes.
const MaxMetadata = 64 << 10

// hasMetadata is a bit in the length of custom bytes of a body. If it is set, the length of the
// metadata follows, and metadata precedes the custom bytes.
const hasMetadata = 1 << 31

// MetadataLen is the length of the length of metadata, in bytes. It is in a packet only with
// metadata.
const MetadataLen = 4

// appendLengths appends the length of custom bytes, and that of metadata if there is any.
func appendLengths(b []byte, custom []byte, metadata pairs.List) []byte {
	if len(metadata) == 0 {
		return binary.BigEndian.AppendUint32(b, uint32(len(custom)))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(custom))|hasMetadata)
	return binary.BigEndian.AppendUint32(b, uint32(len(metadata)))
}

// metadataSize returns the number of bytes of metadata with its length.
func metadataSize(l pairs.List) int {
	if len(l) == 0 {
		return 0
	}
	return MetadataLen + len(l)
}

// CheckMetadata returns an *Error if received metadata has a key that is not allowed or too many
// pairs, or is longer than limit. Its pairs are complete. Such metadata costs the operation that
// it came with, and not the connection.
func CheckMetadata(what string, l pairs.List, limit uint32) error {
	if len(l) == 0 {
		return nil
	}
	if uint64(len(l)) > uint64(limit) {
		return &Error{What: what, Reason: fmt.Sprintf("metadata of %d bytes, at most %d", len(l), limit), Err: ErrPacketTooLarge}
	}
	if problem := l.Check(); problem != "" {
		return malformed(what, "metadata: %s", problem)
	}
	return nil
}
