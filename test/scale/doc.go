// Command scale sees what very many clients and very many streams cost: ten thousand
// clients of one server, in two processes, each calling now and then, and a hundred
// thousand idle streams on one connection. It prints bytes and goroutines for each End
// and each stream, and fails if they are above their bounds, if a call failed, or if
// something is left when all is closed. "make scale" runs it.
package main
