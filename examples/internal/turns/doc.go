// Package turns keeps messages in order over the connections of a client that
// reconnects.
//
// A server has an End for each of the connections. When one is lost, its End still
// returns the messages that had arrived, possibly while the next End returns later
// messages. If the server receives from both at the same time, the order is lost. So the
// receiver of an End waits here until that of the previous End is done.
package turns
