package cluster

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
)

// maxHops bounds the nodes that an operation tries, because the client moves meanwhile.
const maxHops = 4

// answerTime is the longest time for the answer of another node to a broadcast.
const answerTime = time.Second

// Response is the answer of a client to a call. It is a metadata.Carrier, so metadata.From returns the
// metadata of the answer.
type Response struct {
	Data   []byte // the payload
	Custom []byte // the custom bytes of the answer; nil if there are none
	md     metadata.MD
}

// Metadata returns a copy of the metadata of the answer; nil if there is none.
func (r *Response) Metadata() metadata.MD {
	if r.md == nil {
		return nil
	}
	return r.md.Copy()
}

// Call calls a method of a client, on whatever node the client is, and waits for the answer until ctx
// ends. The metadata of ctx is sent with the call (metadata.NewOutgoingContext), and opts can set custom
// bytes. The context of the client's handler ends with ctx.
//
// The errors are those of [geminio.RPCer] for a local client. For a client of another node they are
//
//   - a [*geminio.RemoteError] with the text and the code of the handler's error, or of a limit of the
//     client or of its node; the Response has the data of the answer, if there is any,
//   - ctx.Err(),
//   - a [*geminio.InterruptedError] if the connection of the client, its node or NATS was lost during
//     the call; it says whether the client may have executed the call. It matches [ErrNodeLost] or
//     [ErrNoNATS] if the node or NATS was lost, and otherwise its cause is a *geminio.RemoteError with
//     the text of the cause.
//
// In both cases Call returns [ErrClientOffline] if no client has the id, an error that matches
// [ErrNoNATS] if the client is not local and NATS cannot be reached, and [ErrClosed] after Close. A
// call is executed at most once. Call is safe for concurrent use.
func (n *Node) Call(ctx context.Context, clientID uint64, method string, data []byte, opts ...*options.NewRequestOptions) (*Response, error) {
	opt := options.MergeNewRequestOptions(opts...)
	return n.do(ctx, &request{kind: callKind, client: clientID, name: method, custom: opt.Custom, data: data})
}

// Publish publishes a message with a topic to a client, on whatever node the client is. It returns nil
// when the client has acknowledged the message: no node and no NATS server does that in its place. opts
// can set custom bytes and the delivery guarantee. An at-most-once message has no acknowledgement: Publish
// returns when the node of the client has queued it. The option Topic is ignored.
//
// The errors are those of [Node.Call], with a *geminio.RemoteError after Message.Error of the client. If
// the error matches geminio.ErrMaybeExecuted and the message is published again, the client may receive
// it twice. Publish is safe for concurrent use.
func (n *Node) Publish(ctx context.Context, clientID uint64, topic string, data []byte, opts ...*options.NewMessageOptions) error {
	opt := options.MergeNewMessageOptions(opts...)
	r := &request{kind: publishKind, client: clientID, name: topic, custom: opt.Custom, data: data, cnss: options.CnssAtLeastOnce}
	if opt.Cnss != nil {
		r.cnss = *opt.Cnss
	}
	_, err := n.do(ctx, r)
	return err
}

// do executes a call or a publication on the node that has the client.
func (n *Node) do(ctx context.Context, r *request) (resp *Response, err error) {
	if ctx == nil {
		return nil, errNilContext
	}
	err = n.route(ctx, r.client,
		func(end geminio.End) error {
			resp, err = doLocally(ctx, end, r)
			return err
		},
		func(node string) (*answer, error) {
			a, err := n.ask(ctx, node, r)
			if err == nil && a.status <= failed {
				resp = &Response{Data: a.data, Custom: a.custom, md: a.md}
			}
			return a, err
		})
	return resp, err
}

// route executes an operation on the node that has the client: locally, with an error for which gone is true if
// the End takes nothing, or remotely.
func (n *Node) route(ctx context.Context, client uint64, locally func(geminio.End) error, remotely func(node string) (*answer, error)) error {
	if !n.enter() {
		return ErrClosed
	}
	defer n.leave()
	var last uint64   // the revision of the entry that was tried
	var refused error // what has come of it
	for range maxHops {
		if end := n.locals.end(client); end != nil {
			if err := locally(end); !gone(err) {
				n.counters.local.Add(1)
				return err
			}
		}
		node, rev, err := n.find(ctx, client, last)
		if err == ErrClientOffline && refused != nil {
			return refused
		}
		if err != nil {
			return err
		}
		a, err := n.counters.request(func() (*answer, error) { return remotely(node) })
		switch {
		case errors.Is(err, ErrNodeLost) && errors.Is(err, geminio.ErrNotExecuted):
			last, refused = rev, err
		case err != nil:
			return err
		case a.status == absent:
			last, refused = rev, ErrClientOffline
		default:
			return a.err()
		}
	}
	return refused
}

// gone reports whether err says that an End had ended before an operation, or takes no new one because it is
// being shut down. The client may be at another node then, or will be.
func gone(err error) bool { return err == io.EOF || err == geminio.ErrGoingAway }

// doLocally executes a request with a client of this node. The errors of gone say that it has not begun.
func doLocally(ctx context.Context, end geminio.End, r *request) (*Response, error) {
	if r.kind == publishKind {
		return nil, publishTo(ctx, end, r)
	}
	resp, err := callTo(ctx, end, r)
	if resp == nil {
		return nil, err
	}
	return &Response{Data: resp.Data(), Custom: resp.Custom(), md: metadata.From(resp)}, err
}

// find returns the id of another node that has a client, and the revision of the entry that says so. It
// returns ErrClientOffline if there is none with a higher revision than after. It asks the bucket before it
// does that.
func (n *Node) find(ctx context.Context, client, after uint64) (node string, rev uint64, err error) {
	if r, alive := n.view.client(client); alive && r.node != n.id && r.rev > after {
		return r.node, r.rev, nil
	}
	if !n.nc.IsConnected() {
		return "", 0, ErrNoNATS
	}
	n.counters.lookups.Add(1)
	r, err := n.bucket.readClient(ctx, client)
	if err != nil {
		return "", 0, unanswered(ctx, err)
	}
	if r.node == "" || r.node == n.id || r.rev <= after {
		return "", 0, ErrClientOffline
	}
	if n.view.node(r.node) != nil {
		return r.node, r.rev, nil
	}
	p, err := n.bucket.readNode(ctx, r.node)
	if err != nil {
		return "", 0, unanswered(ctx, err)
	}
	if p == nil || p.leaving {
		return "", 0, ErrClientOffline
	}
	return r.node, r.rev, nil
}

// ask has another node execute a request.
func (n *Node) ask(ctx context.Context, node string, r *request) (*answer, error) {
	pairs, err := outgoing(ctx)
	if err != nil {
		return nil, err
	}
	r.md, r.timeout = pairs, timeoutOf(ctx)
	if r.kind == broadcastKind {
		r.timeout = withAnswer(r.timeout)
	}
	header := r.appendHeader(nil)
	if size := len(header) + len(r.data) + frameOverhead; size < n.opt.DirectSize && size <= int(n.nc.MaxPayload()) {
		return n.overNATS(ctx, node, frame(header, r.data))
	}
	return n.links.request(ctx, node, header, r.data)
}

// withAnswer returns for how long a node waits for the members of a broadcast that ends after a time: so much
// shorter that its answer arrives before the end.
func withAnswer(timeout time.Duration) time.Duration { return timeout - min(timeout/10, answerTime) }

// timeoutOf returns the time until the deadline of ctx, or 0 if there is none.
func timeoutOf(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(deadline), 1)
}
