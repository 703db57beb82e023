// Package application is the layer that users see: the End and its Streams, with
// calls, messages and raw bytes, over the dialogues of package multiplexer.
//
// An [End] is its own default [Stream]. A [Control] is an End with the methods that packages
// client and server need and users do not see (control.go). Handlers run in goroutines that
// are reused (workers.go). An operation that waits for the peer's answer is an entry in a
// table, not a goroutine (pending.go). Callbacks of the user run one after the other, and
// never on the reading goroutine (events.go).
//
// The locks of this package are leaves: none is held while another is acquired, or while a
// function is called that could block.
package application
