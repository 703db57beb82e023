package typed_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"net"
	"strings"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/typed"
)

// connect returns both sides of a connection within this process.
func connect() (near, far geminio.End) {
	a, b := net.Pipe()
	accepted := make(chan geminio.End)
	go func() {
		far, err := server.NewEndWithConn(b)
		if err != nil {
			log.Fatal(err)
		}
		accepted <- far
	}()
	near, err := client.NewEndWithConn(a)
	if err != nil {
		log.Fatal(err)
	}
	return near, <-accepted
}

// RebootRequest and RebootReply are the types of a method.
type RebootRequest struct {
	Device string `json:"device"`
	Force  bool   `json:"force,omitempty"`
}

type RebootReply struct {
	Uptime string `json:"uptime"`
}

// Both sides import this variable.
var Reboot = typed.Method[RebootRequest, RebootReply]{Name: "reboot"}

func ExampleMethod() {
	near, far := connect()
	defer near.Close()
	ctx := context.Background()
	err := Reboot.Register(ctx, far, func(_ context.Context, req RebootRequest) (RebootReply, error) {
		if !req.Force {
			return RebootReply{}, errors.New("the device is busy")
		}
		return RebootReply{Uptime: "12h"}, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, force := range []bool{false, true} {
		reply, err := Reboot.Call(ctx, near, RebootRequest{Device: "a7", Force: force})
		fmt.Printf("%+v %v\n", reply, err)
	}
	// Output:
	// {Uptime:} the device is busy
	// {Uptime:12h} <nil>
}

// Event is an item of a streaming method, and the data of a topic.
type Event struct {
	N    int    `json:"n"`
	Text string `json:"text"`
}

var Watch = typed.ServerStreaming[string, Event]{Name: "watch"}

// The handler sends events until the caller leaves the range.
func ExampleServerStreaming() {
	near, far := connect()
	defer near.Close()
	ended := make(chan error)
	var s typed.Server
	Watch.Register(&s, func(_ context.Context, device string, events *typed.Sender[Event]) error {
		for n := 1; ; n++ {
			if err := events.Send(Event{n, device + " is up"}); err != nil {
				ended <- err
				return err
			}
		}
	})
	go s.Serve(far, nil)

	for event, err := range Watch.Call(context.Background(), near, "a7") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.N, event.Text)
		if event.N == 3 {
			break
		}
	}
	fmt.Println("the handler has ended:", errors.Is(<-ended, context.Canceled))
	// Output:
	// 1 a7 is up
	// 2 a7 is up
	// 3 a7 is up
	// the handler has ended: true
}

var Upload = typed.ClientStreaming[Event, int]{Name: "upload"}

// The caller sends a sequence of events, and the handler answers with their number.
func ExampleClientStreaming() {
	near, far := connect()
	defer near.Close()
	var s typed.Server
	Upload.Register(&s, func(_ context.Context, events iter.Seq2[Event, error]) (n int, err error) {
		for _, err := range events {
			if err != nil {
				return 0, err // the caller has left
			}
			n++
		}
		return n, nil
	})
	go s.Serve(far, nil)

	n, err := Upload.Call(context.Background(), near, func(yield func(Event, error) bool) {
		for i := range 1000 {
			if !yield(Event{N: i}, nil) {
				return // the handler has returned
			}
		}
	})
	fmt.Println(n, err)
	// Output: 1000 <nil>
}

var Chat = typed.Bidirectional[string, string]{Name: "chat"}

// Both sides send texts.
func ExampleBidirectional() {
	near, far := connect()
	defer near.Close()
	var s typed.Server
	Chat.Register(&s, func(_ context.Context, c *typed.Conversation[string, string]) error {
		for text, err := range c.All() {
			if err != nil {
				return err
			}
			if err := c.Send(strings.ToUpper(text)); err != nil {
				return err
			}
		}
		return nil // the caller has sent its last text
	})
	go s.Serve(far, nil)

	c, err := Chat.Call(context.Background(), near)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, text := range []string{"hello", "bye"} {
		if err := c.Send(text); err != nil {
			log.Fatal(err)
		}
		answer, err := c.Receive()
		fmt.Println(answer, err)
	}
	c.CloseSend()
	_, err = c.Receive()
	fmt.Println(err == io.EOF)
	// Output:
	// HELLO <nil>
	// BYE <nil>
	// true
}

var Alarms = typed.Topic[Event]{Name: "alarms"}

// The dispatcher owns the Receive loop of an End. The error of a handler answers the message.
func ExampleTopic() {
	near, far := connect()
	var d typed.Dispatcher
	Alarms.Subscribe(&d, func(_ context.Context, alarm Event) error {
		if alarm.Text == "" {
			return errors.New("an alarm without a text")
		}
		fmt.Println("alarm:", alarm.Text)
		return nil
	})
	done := make(chan error)
	go func() { done <- d.Run(context.Background(), far) }()

	for _, text := range []string{"fire", ""} {
		err := Alarms.Publish(context.Background(), near, Event{Text: text})
		fmt.Println("published:", err)
	}
	near.Close()
	fmt.Println(<-done)
	// Output:
	// alarm: fire
	// published: <nil>
	// published: an alarm without a text
	// EOF
}

// A program that accepts streams itself passes each one to the server first.
func ExampleServer_Offer() {
	near, far := connect()
	defer near.Close()
	var s typed.Server
	Watch.Register(&s, func(context.Context, string, *typed.Sender[Event]) error { return nil })
	go func() {
		for {
			stream, err := far.AcceptStream()
			if err != nil {
				return
			}
			if !s.Offer(stream) {
				fmt.Fprint(stream, "a stream of the program") // its own protocol
				stream.Close()
			}
		}
	}()

	for _, err := range Watch.Call(context.Background(), near, "a7") {
		log.Fatal("no event was expected: ", err)
	}
	stream, err := near.OpenStream()
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(stream)
	fmt.Println(string(text), err)
	// Output: a stream of the program <nil>
}
