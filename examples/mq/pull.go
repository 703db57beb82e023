package main

// The requests for messages of a group. JetStream's own client has Fetch for this. If
// Fetch is stopped, messages that were just sent to it are lost until their time for the
// acknowledgement has passed. A puller gives them back.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pullWait is how long the storage waits for messages before the puller repeats its
// request.
const pullWait = 5 * time.Second

// errNoGroup ends a subscription whose group was dropped.
var errNoGroup = errors.New("there is no such group any more")

// puller requests messages of one group. Only one goroutine uses it.
type puller struct {
	nc      *nats.Conn
	group   jetstream.Consumer
	subject string
	inbox   *nats.Subscription // receives the requested messages; nil: no request yet
}

// newPuller makes a puller for a group.
func newPuller(e *engine, group jetstream.Consumer) *puller {
	info := group.CachedInfo()
	prefix := cmp.Or(e.js.Options().APIPrefix, jetstream.DefaultAPIPrefix)
	return &puller{nc: e.nc, group: group, subject: prefix + "CONSUMER.MSG.NEXT." + info.Stream + "." + info.Name}
}

// pull requests up to n messages, calls do for each, and returns their number. It waits
// for them for a bounded time.
func (p *puller) pull(ctx context.Context, n int, do func(*nats.Msg)) (got int, err error) {
	if p.inbox == nil {
		if p.inbox, err = p.nc.SubscribeSync(p.nc.NewInbox()); err != nil {
			return 0, err
		}
	}
	question, err := json.Marshal(struct {
		Expires time.Duration `json:"expires"`
		Batch   int           `json:"batch"`
	}{pullWait, n})
	if err != nil {
		return 0, err
	}
	if err := p.nc.PublishRequest(p.subject, p.inbox.Subject, question); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, pullWait+time.Second)
	defer cancel()
	for got < n {
		m, err := p.inbox.NextMsgWithContext(ctx)
		if err != nil {
			p.close() // the request may still be pending
			return got, err
		}
		if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 {
			return got, p.answer(ctx, status, m.Header.Get("Description"))
		}
		got++
		do(m)
	}
	return got, nil
}

// answer returns the meaning of a status that ends a request.
func (p *puller) answer(ctx context.Context, status, description string) error {
	switch status {
	case "404", "408": // no messages, or too few, for the whole time
		return nil
	case "503": // no server has received the request
		if _, err := p.group.Info(ctx); errors.Is(err, jetstream.ErrConsumerNotFound) {
			return errNoGroup
		}
	case "409":
		if description == "Consumer Deleted" {
			return errNoGroup
		}
	}
	return fmt.Errorf("the storage answers %s %s", status, description)
}

// close cancels the pending request, if any, and gives back the messages that were sent.
func (p *puller) close() {
	if p.inbox == nil {
		return
	}
	inbox := p.inbox
	p.inbox = nil
	if inbox.Drain() != nil { // the connection is closed
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), engineAnswer)
	defer cancel()
	for {
		m, err := inbox.NextMsgWithContext(ctx)
		if err != nil {
			return
		}
		if m.Header.Get("Status") == "" {
			m.Nak()
		}
	}
}
