package cluster

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

const (
	// linkTimeout bounds connecting to a node, TLS included, and the handshake after that.
	linkTimeout = 5 * time.Second
	// linkLinger bounds the time in which the end of a direct connection delivers bytes that were sent.
	linkLinger = time.Second
	// linkWindow bounds the bytes that a stream of a direct connection holds for its reader, in units of 4 KiB.
	linkWindow = 256
	// linkRoom is what a message over a direct connection needs besides the data of the application.
	linkRoom = 256 << 10
)

// The methods of a direct connection. The custom bytes of their requests have the header.
const (
	requestMethod = "request" // execute a request
	answerMethod  = "answer"  // a large answer to a request that was sent over NATS
)

// links are the direct connections of a node. A node makes one to each node that it has something
// large for, and keeps it until that node is lost. All methods are safe for concurrent use.
type links struct {
	n       *Node
	srv     *server.Server
	options *client.EndOptions

	mu       sync.Mutex
	byNode   map[string]*link
	accepted map[geminio.End]bool // that other nodes have made
	past     traffic              // of connections that are in neither
	closed   bool
}

// traffic is the bytes of frames of direct connections.
type traffic struct{ sent, received uint64 }

// add adds the traffic of a connection.
func (t *traffic) add(end geminio.End) {
	if s, ok := geminio.SnapshotOf(end); ok {
		t.sent, t.received = t.sent+s.Sent.Bytes, t.received+s.Received.Bytes
	}
}

// link is a direct connection to a node.
type link struct {
	made chan struct{} // closed when end or err is set
	end  geminio.End
	err  error
	lost atomic.Bool // the node was lost, or this one was closed
}

// newLinks returns the links of a node, which accept connections over l.
func newLinks(n *Node, l net.Listener) *links {
	x := &links{n: n, byNode: make(map[string]*link), accepted: make(map[geminio.End]bool)}
	so := server.NewEndOptions()
	so.SetMaxMessageSize(n.opt.MaxMessageSize + linkRoom)
	so.SetMaxHandlers(n.opt.MaxRunning)
	so.SetHandshakeTimeout(linkTimeout)
	so.SetRefuseWireV1()
	so.SetBufferSize(linkWindow, 0)
	so.SetLinger(linkLinger)
	so.SetLogger(n.opt.Logger)
	so.SetRegisterLocalRPCs(
		&geminio.MethodRPC{Method: requestMethod, RPC: x.serveRequest},
		&geminio.MethodRPC{Method: answerMethod, RPC: x.serveAnswer},
	)
	x.srv = server.New(so)

	x.options = client.NewEndOptions()
	x.options.SetMaxMessageSize(n.opt.MaxMessageSize + linkRoom)
	x.options.SetHandshakeTimeout(linkTimeout)
	x.options.SetBufferSize(linkWindow, 0)
	x.options.SetConnectWait(linkTimeout)
	x.options.SetLinger(linkLinger)
	x.options.SetLogger(n.opt.Logger)

	n.running.Go(func() { x.srv.Serve(tls.NewListener(l, n.identity.config(n.verifyNode))) })
	n.running.Go(x.accept)
	return x
}

// accept accepts the Ends of other nodes.
func (x *links) accept() {
	for {
		end, err := x.srv.AcceptEnd()
		if err != nil {
			return
		}
		x.mu.Lock()
		x.accepted[end] = true
		x.mu.Unlock()
		if !x.n.start(func() { x.serveStreams(end); x.left(end) }) {
			endLink(end) // closeAll may have listed the Ends before
			x.left(end)
			return
		}
	}
}

// left forgets a connection that another node has made, and that has ended.
func (x *links) left(end geminio.End) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.accepted, end)
	x.past.add(end)
}

// verifyNode returns an error unless a key belongs to a node that is alive.
func (n *Node) verifyNode(node, fingerprint string) error {
	p := n.view.node(node)
	if p == nil { // the view may be older than the node
		ctx, cancel := context.WithTimeout(n.ctx, linkTimeout)
		defer cancel()
		var err error
		if p, err = n.bucket.readNode(ctx, node); err != nil {
			return err
		}
	}
	if p == nil || p.key != fingerprint {
		return errStranger
	}
	return nil
}

// to returns the connection to a node, which it makes if there is none.
func (x *links) to(ctx context.Context, node string) (*link, error) {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return nil, ErrClosed
	}
	k := x.byNode[node]
	if k == nil || k.ended() {
		made := &link{made: make(chan struct{})}
		x.forget(k)
		if !x.n.start(func() { x.make(node, made) }) {
			x.mu.Unlock()
			return nil, ErrClosed
		}
		k, x.byNode[node] = made, made
	}
	x.mu.Unlock()
	select {
	case <-k.made:
		return k, k.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ended reports whether a link was made and can no longer be used.
func (k *link) ended() bool {
	select {
	case <-k.made:
	default:
		return false
	}
	if k.err != nil {
		return true
	}
	select {
	case <-geminio.Done(k.end):
		return true
	default:
		return false
	}
}

// make makes the connection of a link.
func (x *links) make(node string, k *link) {
	opt := client.MergeEndOptions(x.options)
	opt.SetContextDialer(func(ctx context.Context) (net.Conn, error) { return x.dial(ctx, node) })
	end, err := client.NewRetryEndWithDialer(nil, opt)
	x.mu.Lock()
	if k.err = err; err == nil {
		k.end = end
	}
	if gone := x.closed || x.byNode[node] != k; gone && err == nil {
		k.end, k.err = nil, errDropped
	} else {
		end = nil
	}
	close(k.made)
	x.mu.Unlock()
	if end != nil {
		endLink(end)
	}
}

// errDropped is the error of a link whose node was lost while the connection was made.
var errDropped = errors.New("cluster: the node has left")

// dial connects to a node, and proves by TLS that it is this one.
func (x *links) dial(ctx context.Context, node string) (net.Conn, error) {
	p := x.n.view.node(node)
	if p == nil {
		var err error
		if p, err = x.n.bucket.readNode(ctx, node); err != nil {
			return nil, err
		}
		if p == nil {
			return nil, errDropped
		}
	}
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	defer context.AfterFunc(x.n.ctx, cancel)()
	dialer := tls.Dialer{Config: x.n.identity.config(func(claimed, fingerprint string) error {
		if claimed != node || fingerprint != p.key {
			return errStranger
		}
		return nil
	})}
	return dialer.DialContext(ctx, "tcp", p.addr)
}

// drop ends the connection to a node that was lost. Operations under way fail.
func (x *links) drop(node string) {
	x.mu.Lock()
	k := x.byNode[node]
	delete(x.byNode, node)
	x.forget(k)
	x.mu.Unlock()
	if k != nil {
		k.close()
	}
}

// close closes a link if it was made; otherwise make does that.
func (k *link) close() {
	select {
	case <-k.made:
		if k.end != nil {
			k.lost.Store(true)
			endLink(k.end)
		}
	default:
	}
}

// endLink ends a direct connection. It resets the streams first, because their readers would take what has
// arrived for complete otherwise.
func endLink(end geminio.End) {
	for _, s := range end.ListStreams() {
		if s.StreamID() != end.StreamID() {
			geminio.Reset(s, geminio.CodeApplication, lostText)
		}
	}
	end.Close()
}

// flush waits until the answers of handlers that have returned are sent, at most for linkLinger. The other
// nodes send no more requests.
func (x *links) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, linkLinger)
	defer cancel()
	var flushing sync.WaitGroup
	for end := range x.srv.Ends() {
		if s, ok := geminio.SnapshotOf(end); ok && s.State == geminio.EndConnected {
			flushing.Go(func() { geminio.Shutdown(ctx, end) })
		}
	}
	flushing.Wait()
}

// closeAll ends all connections, and accepts no more.
func (x *links) closeAll() {
	x.mu.Lock()
	x.closed = true
	all := x.byNode
	x.byNode = nil
	for _, k := range all {
		x.forget(k)
	}
	x.mu.Unlock()
	var closing sync.WaitGroup
	for _, k := range all {
		closing.Go(k.close)
	}
	for end := range x.srv.Ends() {
		closing.Go(func() { endLink(end) })
	}
	closing.Go(func() { x.srv.Close() })
	closing.Wait()
}

// forget keeps the traffic of a link that is removed, which may be nil. x.mu is held.
func (x *links) forget(k *link) {
	if k != nil && k.end != nil {
		x.past.add(k.end)
	}
}

// stats adds the numbers of the connections.
func (x *links) stats(s *Stats) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.past
	for _, k := range x.byNode {
		if k.end == nil {
			continue
		}
		t.add(k.end)
		if !k.ended() {
			s.Links++
		}
	}
	for end := range x.accepted {
		t.add(end)
	}
	s.AcceptedLinks, s.LinkSent, s.LinkReceived = len(x.accepted), t.sent, t.received
}

// snapshot returns a snapshot of the connection that this node has made to a node, nil if there is none.
func (x *links) snapshot(node string) *geminio.EndSnapshot {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := x.byNode[node]
	if k == nil || k.end == nil {
		return nil
	}
	if s, ok := geminio.SnapshotOf(k.end); ok {
		return &s
	}
	return nil
}

// request has a node execute a request.
func (x *links) request(ctx context.Context, node string, header, data []byte) (*answer, error) {
	resp, err := x.call(ctx, node, requestMethod, header, data)
	if err != nil {
		return nil, err
	}
	return parseAnswer(resp.Custom(), resp.Data())
}

// answer sends an answer to a request that has come over NATS.
func (x *links) answer(ctx context.Context, node string, number uint64, header, data []byte) error {
	_, err := x.call(ctx, node, answerMethod, append(binary.AppendUvarint(nil, number), header...), data)
	return err
}

// call calls a method of a node.
func (x *links) call(ctx context.Context, node, method string, header, data []byte) (geminio.Response, error) {
	if err := x.check(data); err != nil {
		return nil, err
	}
	k, err := x.to(ctx, node)
	if err != nil {
		if ctx.Err() != nil || err == ErrClosed {
			return nil, err
		}
		return nil, nodeLost(node, false, err)
	}
	opt := options.NewRequest()
	opt.SetCustom(header)
	// The metadata of ctx is in the header, for the client and not for the node.
	resp, err := k.end.Call(withoutMetadata{ctx}, method, k.end.NewRequest(data, opt))
	if err != nil {
		return nil, linkError(ctx, node, err)
	}
	return resp, nil
}

// check returns an error if data exceeds Options.MaxMessageSize. The header has room besides.
func (x *links) check(data []byte) error {
	if len(data) <= x.n.opt.MaxMessageSize {
		return nil
	}
	return &geminio.LimitError{What: "data", Value: uint64(len(data)), Limit: uint64(x.n.opt.MaxMessageSize), Err: geminio.ErrTooLarge}
}

// linkError returns the error of an operation for the error of a direct connection.
func linkError(ctx context.Context, node string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if i, ok := errors.AsType[*geminio.InterruptedError](err); ok {
		return nodeLost(node, i.MaybeExecuted, i.Cause)
	}
	if err == io.EOF || errors.Is(err, geminio.ErrNotConnected) || errors.Is(err, geminio.ErrGoingAway) {
		return nodeLost(node, false, err)
	}
	return err
}

// serveRequest executes a request of another node.
func (x *links) serveRequest(ctx context.Context, req geminio.Request, resp geminio.Response) {
	r, err := parseRequest(req.Custom(), req.Data())
	if err != nil {
		resp.SetError(err)
		return
	}
	a := x.n.execute(ctx, r)
	if err := x.check(a.data); err != nil {
		a = answerFor(err)
	}
	resp.SetCustom(a.appendHeader(nil))
	resp.SetData(a.data)
}

// serveAnswer takes a large answer.
func (x *links) serveAnswer(_ context.Context, req geminio.Request, resp geminio.Response) {
	p := parser{b: req.Custom()}
	number := p.uvarint()
	a, err := parseAnswer(p.b, req.Data())
	if err != nil {
		resp.SetError(err)
		return
	}
	x.n.exchanges.end(number, outcome{answer: a})
}

// advertised returns the address of a listener for other nodes.
func advertised(l net.Addr, advertise, nats string) (string, error) {
	if advertise != "" {
		return advertise, nil
	}
	host, port, err := net.SplitHostPort(l.String())
	if err != nil {
		return "", fmt.Errorf("cluster: address %v: %w", l, err)
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return net.JoinHostPort(host, port), nil
	}
	if host, _, err = net.SplitHostPort(nats); err != nil { // NATS is in this process
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}
