// Package geminiotest tests programs that use geminio, without sockets.
//
// [Pair] returns two Ends with a connection in memory between them. A [Network] has a listener and
// a dialer in memory, for a server and for clients that reconnect. Its methods cause faults: cuts,
// delays, connections that carry nothing, and refused connections.
//
// Everything works in a bubble of testing/synctest and outside. A Network, and all that uses it,
// belongs to the bubble in which it was made. In a bubble, delays, timeouts and pauses take no
// time.
//
// The package imports only the standard library and the packages of geminio.
package geminiotest
