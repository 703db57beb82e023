// Package ctxkey has the keys of the values that the library stores in contexts. The root
// package reads the values, and package application stores them.
package ctxkey

// Stream is the key of the geminio.Stream that a handler or an interceptor works for.
type Stream struct{}

// Unchecked is the key of a value that lets a call pass although the peer has not registered its
// method (see SetRemoteRPCCheck). Package typed knows that the peer has a hijack.
type Unchecked struct{}

// Registered is the key of a bool: whether a method of the name that the peer has called is
// registered. It is false if only a hijack serves the method, since the peer chooses its name.
type Registered struct{}

// End is the key of the geminio.End of that stream.
type End struct{}
