package main

// What the broker and its clients say to each other.
//
// A client's meta is a auth.Hello. A producer publishes messages on its End, with the
// topic of the queue as their topic, and a name as custom bytes under which the broker
// knows a message that is published again. Done means that the message is stored, Error
// that it is not and why.
//
// A consumer calls methodSubscribe. The broker opens a stream to it, whose meta is the
// subscription's id, and publishes messages there: the topic is the queue's, the custom
// bytes are a JSON delivery. Done means that the message was consumed. After Error the broker
// delivers it again, as it does with messages that have no answer when the stream ends:
// the consumer should drop those. Closing the stream ends the subscription.

import (
	"cmp"
	"fmt"
	"regexp"
)

// The methods of the broker. Requests and answers are JSON.
const (
	methodSubscribe = "subscribe" // a subscription; answered with a subscribed, when the stream is open
	methodStats     = "stats"     // a list of topics, all if it is empty; answered with a list of topicStats
	methodDrop      = "drop"      // a subscription of which Topic and Group count
)

// subscription says what a consumer wants.
type subscription struct {
	ID     string `json:"id"` // chosen by the consumer
	Topic  string `json:"topic"`
	Group  string `json:"group"`
	Window int    `json:"window"` // messages that may be with the consumer at a time
}

// subscribed is the answer to a subscription that is possible.
type subscribed struct {
	// Later is why there is no stream now; the consumer is to ask again in a while. Empty:
	// there is one.
	Later string `json:"later,omitempty"`
}

// maxWindow bounds subscription.Window.
const maxWindow = 8192

// check returns why the names are none.
func (s subscription) check() error {
	return cmp.Or(checkName("topic", s.Topic), checkName("group", s.Group))
}

// delivery says of a message what a consumer may want to know.
type delivery struct {
	Sequence uint64 `json:"sequence"` // of the message in its topic
	Nth      uint64 `json:"nth"`      // how often the group got it, this time included

	Dead *deadLetter `json:"dead,omitempty"` // where it comes from, if it is a dead letter
}

// topicStats is how a topic is.
type topicStats struct {
	Topic       string       `json:"topic"`
	Messages    uint64       `json:"messages"` // kept
	Bytes       uint64       `json:"bytes"`
	MaxMessages int64        `json:"max_messages"`
	MaxBytes    int64        `json:"max_bytes"`
	Waiting     int64        `json:"waiting"` // producers of this broker that wait for room
	Groups      []groupStats `json:"groups"`
}

// groupStats is how a group of a topic is.
type groupStats struct {
	Group       string `json:"group"`
	Pending     uint64 `json:"pending"`     // messages that were not delivered yet
	InFlight    int    `json:"in_flight"`   // delivered and not acknowledged
	Redelivered int    `json:"redelivered"` // those of them that were delivered more than once
	Consumers   int    `json:"consumers"`   // connected to this broker
}

// names are what topics and groups can be called.
var names = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\z`)

// checkName returns why a name is none.
func checkName(what, name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%q is no name for a %s: it has 1 to 64 letters, digits, - and _, and begins with a letter or digit", name, what)
	}
	return nil
}
