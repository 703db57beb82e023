// Package application has the Ends and Streams of users: calls, messages and raw bytes over the
// dialogues of package multiplexer.
//
// An [End] is its own default [Stream]. A [Control] is an End with the methods that packages
// client and server need and that users do not see (control.go).
//
// # A call, from Call to the frame and back
//
// At the caller:
//
//  1. Stream.Call checks the request, and prepareCall encodes the head of its packet: id,
//     timeout, method and custom bytes (call.go).
//  2. Stream.start makes an entry in the pendingTable. It gives the packet its number, seq,
//     which the response repeats (pending.go).
//  3. Dialogue.Lend waits for the credit of the packet, queues it, and has it written. It does
//     not copy the data of a large request, so the call must not end while a part of it is
//     queued: Abandon removes that part first.
//  4. Stream.wait waits for the entry: for the response, the context, the timeout or the end
//     of the stream. The goroutine that removes the entry from the table completes it, so
//     that a call has one outcome.
//
// At the peer:
//
//  1. The reading goroutine calls handler.Packet with the complete request, and takeRequest
//     makes a serving with the handler's context (handler.go, serving.go).
//  2. A worker, which is a goroutine that is reused, calls the handler (workers.go).
//  3. serving.respond sends the response with the number of the request, or an empty response
//     if the caller no longer waits (respond.go). Then the credit of the request goes back.
//
// At the caller again, takeResponse removes the entry and completes it. If the caller gives up
// before that, it sends a Cancel. The peer then ends the context of the handler and withdraws the
// response.
//
// # A message
//
// Publish does the same as Call, with a packet of another type (message.go). At the receiver,
// takeMessage puts the message into the inbox of its stream, and Receive takes it from there and
// gives its credit back. Done and Error send the answer, with the number of the message. A
// message that is sent at most once has no number, no entry and no answer: Publish returns when
// Dialogue.Send has copied the message or sent it.
//
// # Raw bytes
//
// Read and Write call the methods of the dialogue (raw.go). Package multiplexer describes them in
// write.go and read.go.
//
// # A connection that is cut
//
// When the connection ends, package multiplexer calls handler.Closed for each stream and then
// handler.End. Stream.endOperations completes the entries whose packets were queued, with a
// *geminio.InterruptedError: MaybeExecuted is false if Abandon finds that a part of the packet
// was not sent. An operation that still waits for credit gets its error from Lend. The contexts
// of handlers end, and their responses are dropped. A blocked Read or Write returns the error of
// the dialogue.
//
// A plain End returns these errors to its user. A client.RetryEnd looks at them, and may make the
// same call or publish the same message on its next connection: see package client. A message
// that it sends again has the same number each time. By this number the Deliveries of the
// server's session recognize a message that was handed out already (deliveries.go).
//
// # Callbacks and locks
//
// Callbacks of the user run one after the other on a goroutine of their own, and not on the
// reading goroutine (events.go).
//
// A goroutine that holds a lock of this package takes no other lock, calls no function of the
// user and does not block. The one exception is the lock of the events of an End, under which
// the lock of their Events is taken.
package application
