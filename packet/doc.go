// Package packet is the wire: it appends frames to byte slices and parses them
// from byte slices, and does nothing else. It performs no I/O, holds no locks
// and keeps nothing of what it is given.
//
// Two forms live here. The handshake (handshake.go) has the form of wire v1: a
// 14-byte header, fixed fields and a JSON object in which both sides offer
// wire 2. Everything after it is wire 2 (header.go): a 12-byte header and a
// binary payload. docs/wire.md in the repository specifies both.
//
// Parse functions alias their input: what they return is valid as long as the
// slice given to them is. Malformed input gives an *[Error], never a panic.
package packet
