// Package turns keeps messages in order over the connections of a client that
// reconnects.
//
// A server has an End for each of the connections. When one is lost, its End still
// hands out what had come, perhaps while the next End hands out what comes after
// that. If both are received at the same time, the order is lost between them. So the
// receiver of an End waits here for its turn.
package turns
