package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/singchia/geminio"
)

// NATS loses messages when a server or a connection is lost, also if the caller's own connection
// continues. So a caller asks each second whether its requests are still executed:
//
//	N.n.<node id>.q   the numbers of requests; the reply subject is that of the answer
//	N.n.<node id>.k   each number that was asked for, twice, plus 1 if the request is executed
//
// A node gets and sends its messages in their order. So a request that is not executed then was lost,
// or its answer was.
const (
	inquiryToken = "q"
	findingToken = "k"

	inquiryInterval = time.Second
	maxInquiry      = 1024 // numbers in an inquiry
)

// inquire asks other nodes for the requests that wait for an answer, until the Node is closed. A request
// whose node has not answered for a lease fails.
func (n *Node) inquire() {
	ticker := time.NewTicker(inquiryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case now := <-ticker.C:
			for node, numbers := range n.exchanges.due(now, n.opt.Lease) {
				n.sendInquiries(node, numbers)
			}
		}
	}
}

// sendInquiries asks a node for requests.
func (n *Node) sendInquiries(node string, numbers []uint64) {
	for len(numbers) > 0 && n.nc.IsConnected() {
		part := numbers[:min(len(numbers), maxInquiry)]
		numbers = numbers[len(part):]
		var data []byte
		for _, number := range part {
			data = binary.AppendUvarint(data, number)
		}
		n.nc.PublishRequest(n.subjectOf(node, inquiryToken), n.subjectOf(n.id, findingToken), data)
	}
}

// receiveInquiry answers a node that asks for its requests.
func (n *Node) receiveInquiry(m *nats.Msg) {
	caller, _, ok := n.parseReply(m.Reply, findingToken)
	if !ok {
		return
	}
	p := parser{b: m.Data}
	var data []byte
	for len(p.b) > 0 {
		number := p.uvarint()
		finding := number << 1
		if n.executions.has(n.answerSubject(caller, number)) {
			finding |= 1
		}
		data = binary.AppendUvarint(data, finding)
	}
	n.nc.Publish(m.Reply, data)
}

// receiveFindings ends the exchanges whose request or answer was lost.
func (n *Node) receiveFindings(m *nats.Msg) {
	p := parser{b: m.Data}
	for len(p.b) > 0 {
		finding := p.uvarint()
		if finding&1 == 1 {
			n.exchanges.confirm(finding>>1, time.Now())
			continue
		}
		n.exchanges.end(finding>>1, outcome{err: errMessageLost})
	}
}

// errMessageLost is the error of an operation whose request or answer NATS has lost.
var errMessageLost = &geminio.InterruptedError{MaybeExecuted: true, Cause: fmt.Errorf("%w: the request or its answer was lost", ErrNoNATS)}

// errSilent is the reason why a node that does not answer inquiries counts as lost.
var errSilent = errors.New("no answer over NATS for a lease")

// due returns the numbers of the exchanges that have waited for a while, by their nodes. It ends those
// whose node has been silent for a lease.
func (x *exchanges) due(now time.Time, lease time.Duration) map[string][]uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	due := make(map[string][]uint64)
	for number, e := range x.waiting {
		switch age := now.Sub(e.confirmed); {
		case age > lease:
			delete(x.waiting, number)
			e.done <- outcome{err: nodeLost(e.node, true, errSilent)} // does not block: e was waiting
		case age > inquiryInterval/2:
			due[e.node] = append(due[e.node], number)
		}
	}
	return due
}

// confirm notes that a request is executed.
func (x *exchanges) confirm(number uint64, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.waiting[number]; e != nil {
		e.confirmed = now
	}
}

// has reports whether a request is executed.
func (x *executions) has(reply string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.running[reply] != nil
}
