// Package oldpeer is a peer of wire 1 for tests. To the other side it behaves like a program with
// an earlier release of the library.
package oldpeer
