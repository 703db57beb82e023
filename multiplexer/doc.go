// Package multiplexer carries many dialogues over one connection. A dialogue is
// a pair of byte streams, with credit, half close and reset, beside which
// packets travel: requests, responses, messages and their answers, in fragments
// where they are large. What the packets mean is the upper layer's business
// (Handler).
//
// # Rules of motion
//
// The reading goroutine never waits for anything but the connection:
// all that arrives has its place already, because the peer was given credit for
// it. Credit is counted by plain values (ledger.go), per dialogue for raw bytes
// and small messages, per connection for running handlers and large packets.
//
// What is to be sent needs credit before it is made ready, and stands in its
// dialogue until the scheduler (scheduler.go) gives the dialogue a turn. So
// everything that is ready can be sent, whatever the peer's users do, and Close
// need not wait for them. There is no goroutine for a dialogue, and none that
// only writes: see package conn for who does.
//
// Control (open, accept, credit, stop, reset, the end) is a set of bits in the
// dialogue from which frames are made when there is room, not a queue.
//
// # Locks
//
// Mux.mu guards the table, the scheduler and the sending side of every dialogue.
// Dialogue.recv.mu guards its receiving side. The order is a batch's lock, Mux.mu,
// Dialogue.recv.mu, Conn's. None is held across I/O, a channel operation or a call
// of the Handler.
package multiplexer
