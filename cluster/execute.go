package cluster

import (
	"context"
	"strings"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
)

// executions are the requests of other nodes over NATS that this node executes. All methods are safe
// for concurrent use.
type executions struct {
	max int

	mu      sync.Mutex
	running map[string]context.CancelFunc // by the reply subject of the request
}

// begin adds a request. Its context ends with cancel. The caller calls done at the end.
func (x *executions) begin(parent context.Context, reply string) (ctx context.Context, done func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.running) >= x.max {
		return nil, nil, &geminio.LimitError{
			What: "requests of other nodes", Value: uint64(len(x.running)) + 1, Limit: uint64(x.max), Err: geminio.ErrTooMany,
		}
	}
	ctx, cancel := context.WithCancel(parent)
	x.running[reply] = cancel
	return ctx, func() {
		x.mu.Lock()
		delete(x.running, reply)
		x.mu.Unlock()
		cancel()
	}, nil
}

// cancel ends the context of a request.
func (x *executions) cancel(reply string) {
	x.mu.Lock()
	cancel := x.running[reply]
	x.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// cancelAll ends the contexts of the requests whose reply subject has a prefix.
func (x *executions) cancelAll(prefix string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for reply, cancel := range x.running {
		if strings.HasPrefix(reply, prefix) {
			cancel()
		}
	}
}

// execute executes a request of another node with a client of this node.
func (n *Node) execute(ctx context.Context, r *request) *answer {
	if !n.enter() {
		return &answer{status: absent}
	}
	defer n.leave()
	defer n.counters.execute()()
	ctx, cancel := r.context(ctx)
	defer cancel()
	if r.kind == broadcastKind {
		return &answer{data: n.broadcastHere(ctx, r).encode()}
	}
	end := n.locals.end(r.client)
	if end == nil {
		return &answer{status: absent}
	}
	switch r.kind {
	case openKind: // a stream of a direct connection asks for it
		return answerFor(errEnvelope)
	case publishKind:
		err := publishTo(ctx, end, r)
		if gone(err) {
			return &answer{status: absent}
		}
		return answerFor(err)
	}
	resp, err := callTo(ctx, end, r)
	if gone(err) {
		return &answer{status: absent}
	}
	a := answerFor(err)
	if resp != nil {
		a.data, a.custom, a.md = resp.Data(), resp.Custom(), metadata.From(resp)
	}
	return a
}

// callTo calls a method of a client that is connected to this node. The errors of gone
// say that the call has not begun.
func callTo(ctx context.Context, end geminio.End, r *request) (geminio.Response, error) {
	opt := options.NewRequest()
	opt.SetCustom(r.custom)
	return end.Call(ctx, r.name, end.NewRequest(r.data, opt))
}

// publishTo publishes a message to a client that is connected to this node. The errors of
// gone say that it has not begun.
func publishTo(ctx context.Context, end geminio.End, r *request) error {
	return end.Publish(ctx, messageFor(end, r))
}

// messageFor returns the message of a request for a client that is connected to this node.
func messageFor(end geminio.End, r *request) geminio.Message {
	opt := options.NewMessage()
	opt.SetCustom(r.custom)
	opt.SetTopic(r.name)
	opt.SetCnss(r.cnss)
	return end.NewMessage(r.data, opt)
}
