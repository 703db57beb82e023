// Package oldpeer is a peer of wire 1 for tests: what a program with an earlier release
// of the library does, as far as the other side sees it.
package oldpeer
