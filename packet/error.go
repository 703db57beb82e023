package packet

import (
	"errors"
	"fmt"
)

// ErrPacketTooLarge is wrapped by every error that reports a length above a limit: the
// limit of the handshake, or the negotiated largest frame.
var ErrPacketTooLarge = errors.New("packet too large")

// Error reports bytes that violate the wire.
type Error struct {
	What   string // the packet: "header", "request", "connack", ...
	Reason string // the violation, with the numbers
	Err    error  // the wrapped sentinel, or nil
}

// Error implements error.
func (e *Error) Error() string { return "malformed " + e.What + ": " + e.Reason }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// malformed returns an Error without a sentinel.
func malformed(what, format string, args ...any) error {
	return &Error{What: what, Reason: fmt.Sprintf(format, args...)}
}

// tooLarge returns an Error that wraps ErrPacketTooLarge.
func tooLarge(what string, size, limit uint64) error {
	return &Error{What: what, Reason: fmt.Sprintf("length %d exceeds %d", size, limit), Err: ErrPacketTooLarge}
}
