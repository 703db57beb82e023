// Package memnet has connections and listeners in memory that behave like sockets: they have
// buffers, half close and deadlines. A test can delay the bytes of a connection, hold them back,
// and cut the connection.
//
// The package starts no goroutine and uses no file descriptor, so it works in a synctest bubble
// and outside.
package memnet
