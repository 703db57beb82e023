// Package multiplexer carries many dialogues over one connection. A dialogue is
// the multiplexer's part of a stream: raw bytes in both directions with half
// close and reset, and packets beside them. Packets are requests, responses,
// registrations, messages and acknowledgements; large ones travel in fragments.
// The package does not interpret packets. It passes them to a [Handler].
//
// # States
//
// A dialogue has three states: the state of its life (life.go), the state of its sending half
// (send_half.go) and the state of its receiving half (recv_half.go). Events (event.go) lead
// from one state to another according to three tables, and docs/multiplexing.md shows the
// tables as diagrams.
//
// # Receiving
//
// The reading goroutine of the connection handles every frame that arrives. It
// waits for the transport and for nothing else. This works because every frame
// has a place when it arrives: the peer may send only as much as it has credit
// for. Raw bytes go into the buffer of a waiting Read or into the queue of the
// dialogue. Packets go to the Handler, which must not block.
//
// # Sending
//
// Raw bytes and packets take their credit before they are queued in their
// dialogue. So everything that is queued can be sent without waiting for the user
// of the peer, and Close does not need to wait either. A dialogue with
// queued bytes or packets is in a lane of the scheduler. The goroutine that
// holds the write token of the connection takes dialogues from the scheduler and
// appends one turn of frames for each to a batch; package conn describes which
// goroutine that is. Dialogues have no goroutines.
//
// Control frames are not queued. A dialogue has a set of bits that says which
// control frames are to be sent, and their content is computed when a batch has
// room for them. So they need bounded memory, and a Credit frame grants the whole
// amount that can be granted at that moment.
//
// # A Write, from Write to the frame and to Read
//
// At the writer:
//
//  1. Dialogue.Write waits until no other Write has its turn, and then until the dialogue has
//     credit for raw bytes (write.go).
//  2. It takes credit for a part of the bytes. writeCopy copies a short part into sendHalf.buf,
//     and writeLent lends a long part. Both put the dialogue into laneRaw of the scheduler.
//  3. Conn.Push or Conn.Kick has a goroutine call AppendFrames, in which appendRaw makes a Data
//     frame of the bytes (frames.go). Write returns when all parts are copied or, if they
//     were lent, sent.
//
// At the reader:
//
//  1. The reading goroutine calls frameHandler.Frame. recvHalf.begin checks the credit, and the
//     dataSink moves the bytes into the buffer of a waiting Read or into recvHalf.buf
//     (receive.go, read.go).
//  2. Dialogue.Read returns the bytes and releases them. When enough credit is due, a Credit
//     frame is sent, and peerCredits wakes the Writes of the writer (credit.go).
//
// If the connection is cut and its session is kept, package conn continues in the middle of
// the frame on the next link. This package does not notice: Write and Read wait for longer.
// If the connection has ended, frameHandler.End ends every dialogue. A Write that waits takes
// back its lent memory (Conn.Reclaim) and returns a lostError. A Read returns the bytes that
// have arrived, and then a lostError. The bytes that Write has accepted may be lost.
//
// # Credit
//
// Each class of credit counts one kind of memory or work at the receiver:
//
//   - raw bytes and small messages: bytes of a window of the dialogue,
//   - requests and registrations: running handlers of the connection,
//   - large messages, large requests and large responses: bytes of the
//     connection, one class each.
//
// A packet takes all of its credit, its charge, at once. A packet without credit
// waits; the order in which packets are admitted lets no stream block the others
// and no large packet wait for ever. Small responses and acknowledgements need no
// credit, because there are no more of them than requests and messages. Windows
// of dialogues start small and grow to what the path to the peer holds.
//
// The types ledger (equations that hold at both sides), waitTable (order of
// waiting packets), windowBudget (sizes of windows), path (what the network can
// carry) and scheduler (order of sending) describe the rules. They are plain values that neither lock nor wait.
// With the build tag geminiodebug, the equations are checked whenever Mux.mu is
// released.
//
// # Batching
//
// Package conn describes the points at which goroutines yield to each other, so that one
// system call carries the frames of many. This package decides three things for them:
//
//   - [When] says whether the sender of a packet writes it at once, yields first, or
//     leaves it to another goroutine.
//   - A small Write is written at once if raw bytes have arrived since the last one,
//     because the peer is then likely to wait for an answer. Otherwise another goroutine
//     writes it together with the following ones.
//   - Before the reading goroutine receives a large payload whose reader was just woken,
//     it yields. If the reader calls Read again, the payload goes into its buffer without
//     a copy.
//
// # Locks
//
// Mux.mu guards the Mux and the sending half of every dialogue. The lock of a
// dialogue's receiving half guards that half. A goroutine takes locks in this
// order: the lock of a batch, Mux.mu, the lock of a receiving half, the locks of
// the connection. No lock of this package is held across I/O, a channel
// operation or a call of the Handler.
package multiplexer
