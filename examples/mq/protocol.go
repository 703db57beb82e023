package main

// The protocol of the broker and its clients.
//
// A client's meta is an auth.Hello. A producer publishes messages on its End. The topic
// of a message is the topic of the queue. Its custom bytes are a name, by which the
// broker recognizes a message that is published again. Done means that the message is
// stored, and Error that it is not, with the reason.
//
// A consumer calls methodSubscribe. The broker opens a stream to it, whose meta is the
// subscription's id, and publishes messages there. The topic of a message is the topic of
// the queue, and the custom bytes are a JSON delivery. Done means that the message was
// consumed. After Error the broker delivers the message again, and also if the stream
// ends before an answer: the consumer should then drop the message. Closing the stream
// ends the subscription.

import (
	"cmp"
	"fmt"
	"regexp"
)

// The methods of the broker. Requests and answers are JSON.
const (
	methodSubscribe = "subscribe" // a subscription; the answer is a subscribed, after the stream was opened
	methodStats     = "stats"     // a list of topics, empty for all; the answer is a list of topicStats
	methodDrop      = "drop"      // a subscription, of which only Topic and Group are used
)

// subscription is the request of a consumer.
type subscription struct {
	ID     string `json:"id"` // chosen by the consumer
	Topic  string `json:"topic"`
	Group  string `json:"group"`
	Window int    `json:"window"` // the number of messages that the consumer may have at a time
}

// subscribed is the answer to a valid subscription.
type subscribed struct {
	// Later is the reason if there is no stream now, and the consumer should ask again
	// after a while. If Later is empty, there is a stream.
	Later string `json:"later,omitempty"`
}

// maxWindow bounds subscription.Window.
const maxWindow = 8192

// check returns an error if a name is invalid.
func (s subscription) check() error {
	return cmp.Or(checkName("topic", s.Topic), checkName("group", s.Group))
}

// delivery describes a message for its consumer.
type delivery struct {
	Sequence uint64 `json:"sequence"` // the number of the message in its topic
	Nth      uint64 `json:"nth"`      // the number of deliveries to the group, including this one

	Dead *deadLetter `json:"dead,omitempty"` // the origin of a dead letter
}

// topicStats is the state of a topic.
type topicStats struct {
	Topic       string       `json:"topic"`
	Messages    uint64       `json:"messages"` // stored messages
	Bytes       uint64       `json:"bytes"`
	MaxMessages int64        `json:"max_messages"`
	MaxBytes    int64        `json:"max_bytes"`
	Waiting     int64        `json:"waiting"` // messages of producers of this broker that wait for space
	Groups      []groupStats `json:"groups"`
}

// groupStats is the state of a group of a topic.
type groupStats struct {
	Group       string `json:"group"`
	Pending     uint64 `json:"pending"`     // messages that were not delivered yet
	InFlight    int    `json:"in_flight"`   // delivered and not acknowledged
	Redelivered int    `json:"redelivered"` // those that were delivered more than once
	Consumers   int    `json:"consumers"`   // connected to this broker
}

// names matches valid names of topics and groups.
var names = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\z`)

// checkName returns an error if a name is invalid.
func checkName(what, name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%q is no name for a %s: it has 1 to 64 letters, digits, - and _, and begins with a letter or digit", name, what)
	}
	return nil
}
