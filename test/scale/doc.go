// Command scale measures the cost of very many clients and very many streams: ten
// thousand clients of one server, in two processes, each of which calls now and then, and
// a hundred thousand idle streams on one connection. It prints bytes and goroutines for
// each End and each stream. It fails if they are above their bounds, if a call failed, or
// if too much is left after everything is closed. "make scale" runs it.
package main
