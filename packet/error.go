package packet

import (
	"errors"
	"fmt"
)

// ErrPacketTooLarge is wrapped by every error that reports a length above a limit: that
// of the handshake or the negotiated largest frame.
var ErrPacketTooLarge = errors.New("packet too large")

// Error reports bytes that violate the wire.
type Error struct {
	What   string // the packet: "header", "request", "connack", ...
	Reason string // what was wrong with it, with the numbers
	Err    error  // a sentinel to test for with errors.Is, or nil
}

func (e *Error) Error() string { return "malformed " + e.What + ": " + e.Reason }

// Unwrap returns the sentinel, if any.
func (e *Error) Unwrap() error { return e.Err }

func malformed(what, format string, args ...any) error {
	return &Error{What: what, Reason: fmt.Sprintf(format, args...)}
}

func tooLarge(what string, size, limit uint64) error {
	return &Error{What: what, Reason: fmt.Sprintf("length %d exceeds %d", size, limit), Err: ErrPacketTooLarge}
}
