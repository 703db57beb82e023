// Package packet encodes and decodes the wire: it appends frames to byte slices and
// parses them from byte slices. It performs no I/O, holds no locks and keeps no
// reference to its arguments.
//
// The wire has two forms. The handshake (handshake.go) has the form of wire 1: a
// 14-byte header, fixed fields and a JSON object in which both sides offer
// wire 2. Everything after it is wire 2 (header.go): a 12-byte header and a
// binary payload. docs/wire.md in the repository specifies both.
//
// The results of Parse functions alias their input, and are valid as long as that is.
// Malformed input gives an *[Error], never a panic.
package packet
