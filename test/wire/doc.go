// Package wire tests docs/wire.md. A client that was written from that document alone, and does
// not use the library, talks to a server that uses the library.
package wire
