package server_test

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// rawClient is a client that sends the frames of a test, and no others.
type rawClient struct {
	t  *testing.T
	nc net.Conn
}

// rawOffer returns the settings of raw clients.
func rawOffer() packet.Settings {
	return packet.Settings{
		MaxFrame: 64 << 10, MaxMessage: 1 << 20, MaxStreams: 100,
		Raw: 1 << 20, Messages: 1 << 20, Handlers: 100, Large: 1<<20 + packet.MinLarge,
	}
}

// rawHello is the handshake of a rawClient.
type rawHello struct {
	clientID uint64
	session  string
}

// hello returns the handshake packet of a client.
func hello(t *testing.T, w rawHello) []byte {
	t.Helper()
	offer := rawOffer()
	if w.session != "" {
		offer.Session = []byte(w.session)
	}
	b, err := packet.AppendConn(nil, packet.Conn{PacketID: 1, ClientID: w.clientID, Settings: &offer})
	require.NoError(t, err)
	return b
}

// dialHandshake performs the handshake of a client on nc, and discards the frames that follow
// it. A refusal is a *geminio.RefusedError.
func dialHandshake(t *testing.T, nc net.Conn, w rawHello) (*rawClient, uint64, error) {
	t.Helper()
	if _, err := nc.Write(hello(t, w)); err != nil {
		return nil, 0, err
	}
	ack, err := kit.ReadConnAck(nc)
	if err != nil {
		return nil, 0, err
	}
	if ack.Refused {
		return nil, 0, &geminio.RefusedError{Code: geminio.Code(ack.Code), Text: ack.Error, RetryAfter: ack.Retry}
	}
	go io.Copy(io.Discard, nc)
	return &rawClient{t, nc}, ack.ClientID, nil
}

// send sends frames.
func (r *rawClient) send(frames ...[]byte) {
	r.t.Helper()
	for _, f := range frames {
		_, err := r.nc.Write(f)
		require.NoError(r.t, err)
	}
}

// rawPacket returns a packet in one frame.
func rawPacket(typ packet.Type, stream, seq uint64, head, data []byte) []byte {
	return kit.AppendPacket(nil, typ, stream, seq, append(head, data...))
}

// rawMessage returns a message, which is acked if cnss is 2.
func rawMessage(stream, seq uint64, cnss uint8, data string) []byte {
	m := packet.Message{Cnss: cnss}
	return rawPacket(packet.TypeMessage, stream, seq, m.Append(nil), []byte(data))
}

// rawRequest returns a request.
func rawRequest(stream, seq uint64, method, data string) []byte {
	r := packet.Request{Method: []byte(method)}
	return rawPacket(packet.TypeRequest, stream, seq, r.Append(nil), []byte(data))
}

// rawData returns raw bytes of a stream.
func rawData(stream uint64, flags packet.Flags, data string) []byte {
	return kit.AppendFrame(nil, packet.Header{Type: packet.TypeData, Flags: flags, Stream: stream}, []byte(data))
}

// rawOpen returns the frame that opens a stream.
func rawOpen(stream uint64) []byte {
	return packet.AppendOpen(nil, stream, packet.Open{Windows: packet.Windows{Raw: 1 << 20, Messages: 1 << 20}})
}

// rawClose returns the frame that ends a connection.
func rawClose(code geminio.Code, text string) []byte {
	return packet.AppendReason(nil, packet.TypeClose, 0, packet.Reason{Code: uint32(code), Text: text})
}

// newPipeServer returns a Listener, and the listener in memory under it.
func newPipeServer(t *testing.T, opts ...*server.EndOptions) (*kit.PipeListener, server.Listener) {
	t.Helper()
	nl := kit.NewPipeListener()
	l, err := server.NewListener(nl, opts...)
	require.NoError(t, err)
	return nl, l
}

// dialClient connects to a listener in memory and shakes hands. It returns the client and its
// id.
func dialClient(t *testing.T, nl *kit.PipeListener, w rawHello) (*rawClient, uint64) {
	t.Helper()
	nc, err := nl.Dial()
	require.NoError(t, err)
	r, id, err := dialHandshake(t, nc, w)
	require.NoError(t, err)
	return r, id
}

// dialRaw connects to a listener in memory and shakes hands in another goroutine, which sends
// the error to the returned channel.
func dialRaw(t *testing.T, nl *kit.PipeListener, w rawHello) (net.Conn, <-chan error) {
	t.Helper()
	nc, err := nl.Dial()
	require.NoError(t, err)
	return nc, kit.Start(func() error { _, _, err := dialHandshake(t, nc, w); return err })
}
