package cluster

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// The subjects of a cluster with the name N. A node has one subscription for all of its subjects, so
// its messages keep their order.
//
//	N.n.<node id>.r            requests; the reply subject is that of the answer
//	N.n.<node id>.c            the caller has given up: the data is the reply subject of the request
//	N.n.<node id>.a.<number>   the answer to the request of this node with that number
const (
	requestToken = "r"
	cancelToken  = "c"
	answerToken  = "a"
)

// exchanges are the requests of this node that wait for an answer over NATS, or for a large one over
// a direct connection. All methods are safe for concurrent use.
type exchanges struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]*exchange
}

// exchange is a request that waits for its answer.
type exchange struct {
	node      string       // which executes it
	done      chan outcome // gets one outcome; has the capacity 1
	confirmed time.Time    // when the node has confirmed last that it executes the request; at first the beginning
}

// outcome is the end of an exchange: an answer or an error.
type outcome struct {
	answer *answer
	err    error
}

// begin adds an exchange with a node.
func (x *exchanges) begin(node string) (uint64, *exchange) {
	e := &exchange{node: node, done: make(chan outcome, 1), confirmed: time.Now()}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last++
	x.waiting[x.last] = e
	return x.last, e
}

// end removes an exchange and gives it its outcome. It does nothing if the exchange has ended.
func (x *exchanges) end(number uint64, o outcome) {
	x.mu.Lock()
	e := x.waiting[number]
	delete(x.waiting, number)
	x.mu.Unlock()
	if e != nil {
		e.done <- o
	}
}

// failAll ends all exchanges with an error.
func (x *exchanges) failAll(err error) { x.fail(err, func(*exchange) bool { return true }) }

// failNode ends the exchanges with a node with an error.
func (x *exchanges) failNode(node string, err error) {
	x.fail(err, func(e *exchange) bool { return e.node == node })
}

// fail ends some exchanges with an error.
func (x *exchanges) fail(err error, ends func(*exchange) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for number, e := range x.waiting {
		if ends(e) {
			delete(x.waiting, number)
			e.done <- outcome{err: err} // does not block: e was waiting
		}
	}
}

// subjectOf returns a subject of a node.
func (n *Node) subjectOf(node string, tokens ...string) string {
	return n.opt.Name + ".n." + node + "." + strings.Join(tokens, ".")
}

// answerSubject returns the subject of an answer to a node, which identifies the request.
func (n *Node) answerSubject(caller string, number uint64) string {
	return n.subjectOf(caller, answerToken, strconv.FormatUint(number, 10))
}

// overNATS sends a request to a node over NATS and waits for the answer. If ctx ends, the node learns
// of it.
func (n *Node) overNATS(ctx context.Context, node string, payload []byte) (*answer, error) {
	number, e := n.exchanges.begin(node)
	reply := n.answerSubject(n.id, number)
	err := errNotConnected
	if n.nc.IsConnected() {
		err = n.nc.PublishRequest(n.subjectOf(node, requestToken), reply, payload)
	}
	if err != nil {
		n.exchanges.end(number, outcome{})
		return nil, fmt.Errorf("%w: %w", noNATS(false), err)
	}
	select {
	case o := <-e.done:
		return o.answer, o.err
	case <-ctx.Done():
		n.exchanges.end(number, outcome{})
		n.nc.Publish(n.subjectOf(node, cancelToken), []byte(reply)) // the handler ends by its timeout otherwise
		return nil, ctx.Err()
	case <-n.ctx.Done():
		return nil, errInterruptedByClose
	}
}

// errNotConnected is the reason why a request is not given to NATS.
var errNotConnected = errors.New("disconnected")

// receive handles a message to this node. NATS calls it for one message after the other.
func (n *Node) receive(m *nats.Msg) {
	token, rest, _ := strings.Cut(strings.TrimPrefix(m.Subject, n.subjectOf(n.id)), ".")
	switch token {
	case requestToken:
		n.receiveRequest(m)
	case cancelToken:
		n.executions.cancel(string(m.Data))
	case answerToken:
		if number, err := strconv.ParseUint(rest, 10, 64); err == nil {
			n.receiveAnswer(number, m)
		}
	case inquiryToken:
		n.receiveInquiry(m)
	case findingToken:
		n.receiveFindings(m)
	}
}

// receiveAnswer ends the exchange of an answer.
func (n *Node) receiveAnswer(number uint64, m *nats.Msg) {
	if m.Header.Get("Status") == "503" { // NATS knows no such node
		n.exchanges.mu.Lock()
		e := n.exchanges.waiting[number]
		n.exchanges.mu.Unlock()
		if e != nil {
			n.exchanges.end(number, outcome{err: nodeLost(e.node, false, nats.ErrNoResponders)})
		}
		return
	}
	header, data, err := unframe(m.Data)
	var a *answer
	if err == nil {
		a, err = parseAnswer(header, data)
	}
	n.exchanges.end(number, outcome{a, err})
}

// receiveRequest begins to execute a request. It does not block.
func (n *Node) receiveRequest(m *nats.Msg) {
	caller, rest, ok := n.parseReply(m.Reply, answerToken)
	number, err := strconv.ParseUint(rest, 10, 64)
	if !ok || err != nil {
		return // nobody waits for an answer
	}
	header, data, err := unframe(m.Data)
	var r *request
	if err == nil {
		r, err = parseRequest(header, data)
	}
	if err != nil {
		n.reply(caller, number, m.Reply, answerFor(err))
		return
	}
	ctx, done, err := n.executions.begin(n.ctx, m.Reply)
	if err != nil {
		n.counters.refused.Add(1)
		n.reply(caller, number, m.Reply, answerFor(err))
		return
	}
	if !n.start(func() {
		defer done()
		if n.enter() { // Shutdown waits for the answer too
			defer n.leave()
		}
		a := n.execute(ctx, r)
		if n.ctx.Err() == nil { // Close has not interrupted it; the caller learns of Close by the bucket
			n.reply(caller, number, m.Reply, a)
		}
	}) {
		done()
	}
}

// parseReply returns the node of a reply subject with a token, and what follows the token.
func (n *Node) parseReply(reply, token string) (caller, rest string, ok bool) {
	reply, ok = strings.CutPrefix(reply, n.opt.Name+".n.")
	caller, reply, _ = strings.Cut(reply, ".")
	first, rest, _ := strings.Cut(reply, ".")
	return caller, rest, ok && first == token && validName.MatchString(caller)
}

// reply sends an answer over NATS, or over a direct connection if it is too large for NATS.
func (n *Node) reply(caller string, number uint64, subject string, a *answer) {
	header := a.appendHeader(nil)
	if len(header)+len(a.data)+frameOverhead <= int(n.nc.MaxPayload()) {
		if err := n.nc.Publish(subject, frame(header, a.data)); err != nil {
			n.opt.Logger.Warn("cluster: an answer was not sent", "node", n.id, "to", caller, "err", err)
		}
		return
	}
	if err := n.links.check(a.data); err != nil {
		n.nc.Publish(subject, frame(answerFor(err).appendHeader(nil), nil))
		return
	}
	if err := n.links.answer(n.ctx, caller, number, header, a.data); err != nil {
		n.opt.Logger.Warn("cluster: a large answer was not sent", "node", n.id, "to", caller, "err", err)
		small := answer{status: interruptedAfter, code: codeOf(err), text: "the answer is too large for NATS: " + err.Error()}
		n.nc.Publish(subject, frame(small.appendHeader(nil), nil))
	}
}
