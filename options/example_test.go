package options_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
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

// A call that takes too long ends at both sides.
func ExampleCall() {
	near, far := connect()
	defer near.Close()
	ended := make(chan error, 1)
	far.Register(context.Background(), "sleep", func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
		<-ctx.Done()
		resp.SetError(ctx.Err()) // whose time is up first does not matter
		ended <- ctx.Err()
	})

	opt := options.Call()
	opt.SetTimeout(10 * time.Millisecond)
	_, err := near.Call(context.Background(), "sleep", near.NewRequest(nil), opt)
	fmt.Println(err)
	fmt.Println("handler:", <-ended)
	// Output:
	// context deadline exceeded
	// handler: context deadline exceeded
}

// Publish waits at most this long for a receiver.
func ExamplePublish() {
	near, _ := connect()
	defer near.Close()
	opt := options.Publish()
	opt.SetTimeout(10 * time.Millisecond)
	fmt.Println(near.Publish(context.Background(), near.NewMessage(nil), opt))
	// Output: context deadline exceeded
}

// Custom bytes travel beside the data, both ways.
func ExampleNewRequest() {
	near, far := connect()
	defer near.Close()
	far.Register(context.Background(), "work", func(_ context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetCustom(append([]byte("seen: "), req.Custom()...))
	})
	opt := options.NewRequest()
	opt.SetCustom([]byte("trace 42"))
	resp, err := near.Call(context.Background(), "work", near.NewRequest(nil, opt))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Custom())
	// Output: seen: trace 42
}

// A message has a topic and a guarantee.
func ExampleNewMessage() {
	near, far := connect()
	defer near.Close()
	opt := options.NewMessage()
	opt.SetTopic("metrics")
	opt.SetCnss(options.CnssAtMostOnce)
	if err := near.Publish(context.Background(), near.NewMessage([]byte("17"), opt)); err != nil {
		log.Fatal(err)
	}
	msg, err := far.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %s, %v\n", msg.Topic(), msg.Data(), msg.Cnss())
	// Output: metrics 17, at most once
}

// The opener describes a stream, and both sides see it.
func ExampleOpenStream() {
	near, far := connect()
	defer near.Close()
	opt := options.OpenStream()
	opt.SetPeer("127.0.0.1:22")
	opt.SetMeta([]byte("on behalf of Ada"))
	opt.SetTimeout(time.Minute)
	if _, err := near.OpenStream(opt); err != nil {
		log.Fatal(err)
	}
	stream, err := far.AcceptStream()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("to %s, %s\n", stream.Peer(), stream.Meta())
	// Output: to 127.0.0.1:22, on behalf of Ada
}

// All calls are hijacked but those that match.
func ExampleHijack() {
	near, far := connect()
	defer near.Close()
	far.Register(context.Background(), "health", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte("fine"))
	})
	opt := options.Hijack()
	opt.SetMatch(false, "^health$")
	far.Hijack(func(_ context.Context, method string, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte("elsewhere: " + method))
	}, opt)
	for _, method := range []string{"health", "list"} {
		resp, err := near.Call(context.Background(), method, near.NewRequest(nil))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", resp.Data())
	}
	// Output:
	// fine
	// elsewhere: list
}

// Of options that are set more than once the last counts; nil is skipped.
func ExampleMergeCallOptions() {
	common, own := options.Call(), options.Call()
	common.SetTimeout(time.Minute)
	common.SetIdempotent(true)
	own.SetTimeout(time.Second)
	merged := options.MergeCallOptions(common, nil, own)
	fmt.Println(*merged.Timeout, *merged.Idempotent)
	// Output: 1s true
}

// Limits are a part of the options of clients and servers. Those that do not go
// together are an error of the constructor.
func ExampleLimits() {
	opt := client.NewEndOptions()
	opt.SetMaxMessageSize(1 << 20)
	opt.SetMaxStreams(64)
	opt.SetMemoryBudget(1 << 20) // a quarter must hold a largest message
	near, far := net.Pipe()
	defer far.Close()
	_, err := client.NewEndWithConn(near, opt)
	fmt.Println(err)
	// Output: options: MemoryBudget of 1048576 is too small: messages of 1048576 bytes and 64 streams need 4194944
}
