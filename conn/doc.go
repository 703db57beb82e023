// Package conn is the lowest layer with I/O: one connection to one peer, over
// any net.Conn. It shakes hands, reads and writes frames, answers and sends
// heartbeats, and ends in an orderly way. It knows nothing of what the frames
// are for.
//
// # Life
//
//	Handshaking -> Open -> Draining -> Closing -> Closed
//
// Every state may be skipped, none is left backwards; see [State].
//
// # Reading
//
// One goroutine runs Run, which gives each frame to the upper layer (FrameHandler.Frame);
// that takes its payload with Payload or ReadPayload. It waits for the transport
// and for nothing else. While it waits on a TCP or unix socket, it holds no buffer.
//
// # Writing
//
// Nothing is queued here. Whoever has made something ready in the upper layer
// calls Push, which writes in the caller's goroutine, or Kick, which leaves it
// to another. Both take the write token if it is free; its holder asks the
// upper layer for batches (FrameHandler.Fill) and writes each with one system call
// until nothing is left. If the token is taken, its holder will see the new work
// before it gives the token up.
package conn
