// Package metadata has the metadata of calls, messages, streams and connections: pairs of a key
// and a value that are sent beside the data, such as a token, a tenant or the context of a
// trace. It resembles the metadata of gRPC and the headers of HTTP.
//
// # Sending and receiving
//
// A context carries the metadata that an operation sends:
//
//	ctx = metadata.AppendToOutgoingContext(ctx, "tenant", "acme", "token", token)
//	resp, err := end.Call(ctx, "list", end.NewRequest(nil))
//
// This holds for Call, CallAsync, Publish, PublishAsync and OpenStreamContext. The receiver finds
// it as follows:
//
//	a handler, its middleware             FromIncomingContext(ctx)
//	the receiver of a message             From(message)
//	the acceptor of a stream              From(stream)
//	the caller, of the handler's answer   From(response)
//	both sides, of the handshake          From(end)
//
// A handler sets the metadata of its answer with [SetOutgoing]. SetMetadata of the options of
// client and server sets that of the handshake. Metadata that has arrived is not passed on: a
// handler that makes calls itself adds what it wants to pass on to their context.
//
// # Keys and values
//
// A key has 1 to 255 letters from a to z, digits, and the characters - _ and a dot. The functions
// of this package convert upper-case letters; an [MD] that is written as a map with such a key
// is an error. A key may have several values, whose order is kept. A value is any sequence of at
// most 65535 bytes, also binary and empty. No suffix such as gRPC's -bin is needed.
//
// # Limits
//
// The size of metadata is the sum of the lengths of its keys and values and of 3 bytes for each
// value (see [MD.Size]). By default an End accepts 64 KiB (65536 bytes) with each call, answer,
// message and stream; SetMaxMetadataSize changes that. It accepts at most 1024 values. Metadata
// counts as a part of the message for SetMaxMessageSize. In the handshake, metadata and the bytes
// of SetMeta have at most 48000 bytes together. In the opening of a stream, metadata, meta and
// peer have at most 65522 bytes together.
//
// An operation with metadata that exceeds a limit, or has a key that is not allowed, returns a
// [*geminio.LimitError] or an [*Error] before anything is sent. If the metadata of an answer is
// wrong, the caller gets an error in place of the answer.
//
// # Old peers
//
// A peer of the earlier library has no metadata. This side does not send it to such a peer, and
// the operation succeeds without.
package metadata
