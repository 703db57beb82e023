package application

import "github.com/singchia/geminio"

// Names that the earlier library had in this package and that programs use. The errors
// are those of package geminio.
var (
	ErrRemoteRPCUnregistered = geminio.ErrRemoteRPCUnregistered
	ErrMismatchClientID      = geminio.ErrMismatchClientID
	ErrMismatchStreamID      = geminio.ErrMismatchStreamID
	ErrPacketTooLarge        = geminio.ErrTooLarge
)

// DefaultMaxPacketSize is the length of the longest packet that the earlier library took
// by default, in bytes. This library bounds nothing by it: see SetMaxMessageSize of the
// options.
const DefaultMaxPacketSize = 10 << 20
