// Package packet encodes and decodes the wire: it appends frames to byte slices and
// parses them from byte slices. It performs no I/O, holds no locks and keeps no
// reference to its arguments.
//
// The wire has two forms. The packets of the handshake ([Conn], [ConnAck]) have the form
// of wire 1: a header of 14 bytes, fixed fields, and a JSON object in which both sides
// offer wire 2. All frames after the handshake have the form of wire 2: a [Header] of 12
// bytes and a binary payload. docs/wire.md in the repository specifies both.
//
// The results of Parse functions alias their input and are valid as long as the input is
// not changed. Parse functions return an *[Error] for malformed input, and never panic.
package packet
