// Package typed has calls, messages and streaming calls with Go types in place of bytes. It needs
// no generated code: a variable describes a method for both sides.
//
//	var Reboot = typed.Method[RebootRequest, RebootReply]{Name: "reboot"}
//
//	err := Reboot.Register(ctx, end, func(ctx context.Context, req RebootRequest) (RebootReply, error) {...})
//	reply, err := Reboot.Call(ctx, end, RebootRequest{Delay: time.Minute})
//
// A [Method] is a call with one request and one response. A [Topic] has messages; a [Dispatcher]
// receives them and calls a handler for each topic. In streaming calls a side sends any number of
// items: [ServerStreaming], [ClientStreaming] and [Bidirectional]. A [Server] serves them on the
// streams that the peer opens.
//
// # Codecs
//
// A [Codec] converts values to bytes. The default is [JSON]. The sender sends the name of its
// codec with the metadata key "content-type". JSON is not named: data without a name is JSON. So
// programs that know nothing of this package can call a method whose codec is JSON. If the names
// differ, or the data does not fit the type, that call or message fails with a [*DataError], whose
// code is geminio.CodeInvalid. A peer of the earlier library gets no metadata, and so no name.
//
// # Errors
//
// The error of a handler is a *geminio.RemoteError at the other side, with its text and its code
// (see geminio.Coder). All other errors are those of geminio.RPCer and geminio.Messager.
//
// # How a streaming call works
//
// The caller opens a stream whose peer (geminio.Stream.Peer) is "typed/" and the name of the
// method. The acceptor writes one byte of any value when it is ready. Then the caller calls the
// method on that stream. The call carries the request of a server streaming call, the response of
// a client streaming call, metadata, the deadline, the cancellation, and the error. The items are
// in the raw bytes of the stream, with its credit: each is a length of 4 bytes, big endian, and
// the encoded value. A side that has sent all items ends its bytes (geminio.CloseWrite). The
// response has the metadata key "typed-stream" if its handler has ended the bytes in this way. A
// caller that gives up resets the stream.
//
// The handler of a streaming call is an RPC like others: middleware, limits and panics apply to
// it, and geminio.EndFrom returns its End. Peers of the earlier library have no streaming calls.
package typed
