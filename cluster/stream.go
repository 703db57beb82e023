package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
)

// OpenStream opens a stream to a client, on whatever node the client is, and waits until the client has
// accepted it or ctx ends. After the opening, ctx has no effect on the stream. The metadata of ctx is that
// of the stream, and opts are those of OpenStream of an End.
//
// A stream to a client of another node passes through that node: bytes, calls and messages, the end of
// each direction, and resets with their code and text. Its writer waits for the reader, as on a direct
// stream, and the nodes hold at most about 2 MiB of it. When the node of the client is lost, Read and Write
// return an error, and never io.EOF. Such a stream belongs to no [geminio.End]: geminio.EndOf returns false.
// The client calls methods that are registered on the stream without knowing them, so a client with
// SetRemoteRPCCheck cannot call them.
//
// The errors are those of [Node.Call], but a refusal is a [*geminio.RefusedError], and after an
// InterruptedError that matches geminio.ErrMaybeExecuted the client may have seen a stream that has
// ended. OpenStream is safe for concurrent use.
func (n *Node) OpenStream(ctx context.Context, clientID uint64, opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
	if ctx == nil {
		return nil, errNilContext
	}
	opt := options.MergeOpenStreamOptions(opts...)
	if opt.Timeout != nil && *opt.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *opt.Timeout)
		defer cancel()
	}
	r := &request{kind: openKind, client: clientID, custom: opt.Meta}
	if opt.Peer != nil {
		r.name = *opt.Peer
	}
	var stream geminio.Stream
	err := n.route(ctx, clientID,
		func(end geminio.End) (err error) {
			stream, err = openTo(ctx, end, r)
			return err
		},
		func(node string) (a *answer, err error) {
			stream, a, err = n.links.open(ctx, node, r)
			return a, err
		})
	if e, ok := err.(*geminio.RemoteError); ok {
		err = &geminio.RefusedError{Code: e.Code, Text: e.Text}
	}
	if err != nil {
		return nil, err
	}
	return stream, nil
}

// openTo opens a stream to a client that is connected to this node. The errors of gone say that
// it is not opened.
func openTo(ctx context.Context, end geminio.End, r *request) (geminio.Stream, error) {
	opt := options.OpenStream()
	opt.SetMeta(r.custom)
	opt.SetPeer(r.name)
	return geminio.OpenStreamContext(ctx, end, opt)
}

// open has a node open a stream to a client. The stream has a stream of the direct connection, with the
// header of the request as its meta. The first message on it is the answer, with the id of the client's
// stream as its data. After that the other node passes everything on.
func (x *links) open(ctx context.Context, node string, r *request) (geminio.Stream, *answer, error) {
	k, err := x.to(ctx, node)
	if err != nil {
		if ctx.Err() != nil || err == ErrClosed {
			return nil, nil, err
		}
		return nil, nil, nodeLost(node, false, err)
	}
	if r.md, err = outgoing(ctx); err != nil {
		return nil, nil, err
	}
	r.timeout = timeoutOf(ctx)
	opt := options.OpenStream()
	opt.SetMeta(r.appendHeader(nil))
	s, err := geminio.OpenStreamContext(withoutMetadata{ctx}, k.end, opt)
	if err != nil {
		return nil, nil, linkError(ctx, node, err)
	}
	m, err := s.Receive(ctx)
	if err != nil {
		geminio.Reset(s, geminio.CodeCanceled, "given up")
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		return nil, nil, nodeLost(node, true, nil)
	}
	m.Done()
	a, err := parseAnswer(m.Custom(), m.Data())
	if err != nil || a.status != succeeded {
		s.Close()
		return nil, a, err
	}
	p := parser{b: a.data}
	return &remoteStream{Stream: s, link: k, client: r.client, id: p.uint64(), meta: r.custom, peer: r.name, md: r.md}, a, nil
}

// serveStreams serves the streams that another node opens, until the direct connection ends.
func (x *links) serveStreams(end geminio.End) {
	for {
		s, err := end.AcceptStream()
		if err != nil {
			return
		}
		if !x.n.start(func() { x.serveStream(s) }) {
			return
		}
	}
}

// serveStream opens a stream to a client, answers, and passes everything on until both streams have ended.
func (x *links) serveStream(s geminio.Stream) {
	defer s.Close()
	if !x.n.enter() {
		return
	}
	defer x.n.leave()
	r, err := parseRequest(s.Meta(), nil)
	if err != nil || r.kind != openKind {
		geminio.Reset(s, geminio.CodeInvalid, errEnvelope.Error())
		return
	}
	done := x.n.counters.execute()
	far, a := x.openFor(s, r)
	done()
	if far != nil {
		defer far.Close()
		if err := errors.Join(forwardCalls(far, s), forwardCalls(s, far)); err != nil {
			a = answerFor(err)
		}
		a.data = binary.BigEndian.AppendUint64(nil, far.StreamID())
	}
	opt := options.NewMessage()
	opt.SetCustom(a.appendHeader(nil))
	if err := s.Publish(x.n.ctx, s.NewMessage(a.data, opt)); err != nil || a.status != succeeded {
		if far != nil {
			geminio.Reset(far, geminio.CodeCanceled, "given up")
		}
		return
	}
	x.n.counters.streams.Add(1)
	defer x.n.counters.streams.Add(-1)
	splice(x.n.ctx, s, far)
}

// openFor opens the stream to the client for a stream of another node. It gives up when that stream ends.
func (x *links) openFor(s geminio.Stream, r *request) (geminio.Stream, *answer) {
	end := x.n.locals.end(r.client)
	if end == nil {
		return nil, &answer{status: absent}
	}
	ctx, cancel := context.WithCancel(x.n.ctx)
	defer cancel()
	watch, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if _, err := s.Receive(watch); err == io.EOF { // there is no message before the answer
			cancel()
		}
	}()
	defer func() {
		stop()
		<-watched
	}()
	opening, expire := r.context(ctx)
	defer expire()
	far, err := openTo(opening, end, r)
	if gone(err) {
		return nil, &answer{status: absent}
	}
	return far, answerFor(err)
}

// remoteStream is a stream to a client of another node. Its Stream is one of the direct connection.
type remoteStream struct {
	geminio.Stream
	link       *link
	client, id uint64
	meta       []byte
	peer       string
	md         metadata.MD
}

// Read implements net.Conn. The received bytes are not complete if the node was lost.
func (s *remoteStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err == io.EOF && s.link.lost.Load() {
		err = &geminio.StreamError{Code: geminio.CodeApplication, Text: lostText}
	}
	return n, err
}

// ClientID returns the id of the client.
func (s *remoteStream) ClientID() uint64 { return s.client }

// StreamID returns the id of the stream at the client.
func (s *remoteStream) StreamID() uint64 { return s.id }

// Meta returns the meta of the stream.
func (s *remoteStream) Meta() []byte { return s.meta }

// Peer returns the peer of the stream.
func (s *remoteStream) Peer() string { return s.peer }

// Metadata implements metadata.Carrier.
func (s *remoteStream) Metadata() metadata.MD { return s.md.Copy() }

// CloseWrite implements geminio.HalfCloser.
func (s *remoteStream) CloseWrite() error { return geminio.CloseWrite(s.Stream) }

// CloseRead implements geminio.HalfCloser.
func (s *remoteStream) CloseRead() error { return geminio.CloseRead(s.Stream) }

// Reset implements geminio.Resetter.
func (s *remoteStream) Reset(code geminio.Code, text string) error {
	return geminio.Reset(s.Stream, code, text)
}
