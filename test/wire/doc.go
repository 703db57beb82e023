// Package wire tests docs/wire.md: a client that was written from that document, and
// uses nothing of this library, talks to a server that is made with the library.
package wire
