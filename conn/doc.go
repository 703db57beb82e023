// Package conn is the lowest layer with I/O: one connection to one peer, over
// any net.Conn. It performs the handshake, reads and writes frames, sends and
// answers heartbeats, and closes the connection in order. It does not interpret
// the frames of the layer above.
//
// # Life
//
//	Handshaking -> Open -> Draining -> Closing -> Closed
//
// A connection may skip states. It never returns to an earlier one; see [State].
//
// # Reading
//
// One goroutine, the reading goroutine, calls [Conn.Run]. Run passes each frame
// to [FrameHandler.Frame], which takes the payload with [Conn.Payload] or
// [Conn.ReadPayload]. The reading goroutine waits for the transport and for
// nothing else. While it waits on a TCP or unix socket, it holds no buffer. When
// nothing has arrived on a socket for a while, another goroutine takes its place, whose
// stack is small.
//
// # Writing
//
// This package queues nothing. A goroutine that has made something ready in the
// layer above calls [Conn.Push], which writes in that goroutine, or [Conn.Kick],
// which has the flusher write: another goroutine, which ends when it was not needed
// for a while. Both try to acquire the write token. The holder of the token asks the
// layer above for batches ([FrameHandler.AppendFrames]) and writes each batch with one
// system call until nothing is left. If the token is taken, its holder looks for new
// work once more before it releases the token.
//
// # Sessions
//
// With the feature resume, a Conn survives the loss of its net.Conn, which is one of
// its links. The session counts the bytes of each direction, and keeps the sent ones
// until the peer has reported that it has received them. When a link is lost, the
// reading goroutine waits in the middle of a frame, and nothing is written. Client and
// Server resume a session during a handshake, if [ResumeConfig] asks for it: they wait
// until the reading goroutine and the holder of the write token have left the old
// link, exchange positions, and attach the new link. The log is written first, and new
// batches follow. Events of a link that was replaced have no effect. docs/wire.md
// specifies the protocol.
//
// # Locks
//
// The lock of a batch is held while the batch is filled, so FrameHandler.AppendFrames
// runs under it and takes the lock of the layer above inside it. AppendFrames must not
// take further locks; [Batch.After] registers a function that runs after the batch
// lock is released. The lock is also held during each non-blocking system call.
// [Conn.Reclaim] takes it, so a caller of Reclaim must not hold a lock that
// AppendFrames takes. Conn.mu and the lock of a session's log are leaves: no other
// lock is taken under them.
//
// # Pacing
//
// A system call costs as much as the work of many small frames. The package
// therefore lets other goroutines run at the points where they are likely to
// add frames to the next batch, or to consume what was read:
//
//   - Push with gather set calls runtime.Gosched before the first batch. The
//     layer above sets gather when many goroutines have work under way, so that
//     their frames go out together.
//   - Between two batches the holder of the token calls runtime.Gosched: the
//     goroutines whose borrowed memory was written can then make the next bytes
//     ready, and the reading goroutine can run.
//   - After a read that contained a packet (packetDispatched), the reading
//     goroutine calls runtime.Gosched before the next read (socket only). The
//     goroutines that the packets have woken run first, and their answers may meet
//     further requests in the same read. A Read of TLS returns one record, and the
//     next record is often there already: it is read first, so that the goroutines
//     woken by both write together.
//
// Three hints choose how much is read:
//
//   - bulk is set while the last frames were large. Only the next header is then
//     read into the buffer, and payloads go straight to their destination.
//   - whole (socket only) is set between two frames. Complete frames that one
//     read has brought are handled at once, without leaving the poller's callback.
//   - all (socket only) reports that a read left room in its buffer, so the
//     socket is probably empty. If no packet came, the goroutine waits without
//     a further read, which would only return EAGAIN. A FIN may be reported
//     together with the last bytes and not again, so the socket is read once
//     more after lookAgain.
//
// While all processors are busy, the runtime asks its poller only every ten
// milliseconds. A goroutine that writes bulk data would delay the reading
// goroutine by that time, so it calls wakeReader between two batches, which
// wakes the reading goroutine if its socket, or the one beneath its TLS connection, has
// something to read.
package conn
