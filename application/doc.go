// Package application is the layer that users see: the End and its Streams, with
// calls, messages and raw bytes, over the dialogues of package multiplexer.
//
// An [End] is its own default [Stream]. Requests run in goroutines that are used
// again (workers.go); what waits for an answer of the peer is an entry in one
// table (pending.go), not a goroutine; callbacks of the user run one after the
// other, off the reading goroutine (events.go).
//
// The locks here are leaves: none is held while another is taken, nor while
// anything is called that could wait.
package application
