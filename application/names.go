package application

import "github.com/singchia/geminio"

// These errors of package geminio had their names in this package in the earlier library.
// Programs use them.
var (
	ErrRemoteRPCUnregistered = geminio.ErrRemoteRPCUnregistered
	ErrMismatchClientID      = geminio.ErrMismatchClientID
	ErrMismatchStreamID      = geminio.ErrMismatchStreamID
	ErrPacketTooLarge        = geminio.ErrTooLarge
)

// DefaultMaxPacketSize is the size of the longest packet that the earlier library accepted by
// default, in bytes. It bounds nothing in this library: see SetMaxMessageSize of options.Limits.
const DefaultMaxPacketSize = 10 << 20
