package main

// How the broker gets messages of a group from the storage. JetStream's own client has
// Fetch for that; but when it is told to stop, what has just been sent to it is lost until
// the time for acknowledging is over. Here it is given back.

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

// pullWait is how long the storage looks for messages before it is asked again.
const pullWait = 5 * time.Second

// errNoGroup ends a subscription whose group was dropped.
var errNoGroup = errors.New("there is no such group any more")

// puller asks for messages of one group. It is for one goroutine.
type puller struct {
	nc      *nats.Conn
	group   jetstream.Consumer
	subject string
	inbox   *nats.Subscription // what is asked for comes here; nil: not yet
}

// newPuller makes a puller of a group.
func newPuller(e *engine, group jetstream.Consumer) *puller {
	info := group.CachedInfo()
	prefix := cmp.Or(e.js.Options().APIPrefix, jetstream.DefaultAPIPrefix)
	return &puller{nc: e.nc, group: group, subject: prefix + "CONSUMER.MSG.NEXT." + info.Stream + "." + info.Name}
}

// pull asks for up to n messages, gives them to do as they come, and returns how many
// those were. It waits until they are there, or for a while.
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
			p.close() // the question may be open still
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

// answer returns what a status that ends a question means.
func (p *puller) answer(ctx context.Context, status, description string) error {
	switch status {
	case "404", "408": // there was nothing, or not enough, all the time
		return nil
	case "503": // nobody has heard the question
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

// close takes the question back, if there is one, and gives back what has been sent.
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
