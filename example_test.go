package geminio_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// connect returns both sides of a connection within this process. Usually each side is in a
// program of its own: client.NewEnd makes one, server.Listen and AcceptEnd make the other.
func connect(opts ...*client.EndOptions) (near, far geminio.End) {
	a, b := net.Pipe()
	accepted := make(chan geminio.End)
	go func() {
		far, err := server.NewEndWithConn(b)
		if err != nil {
			log.Fatal(err)
		}
		accepted <- far
	}()
	near, err := client.NewEndWithConn(a, opts...)
	if err != nil {
		log.Fatal(err)
	}
	return near, <-accepted
}

// A handler finds the End of its caller, which may be used as a key.
func ExampleEndFrom() {
	var names sync.Map // the name of each client, by its End
	opt := server.NewEndOptions()
	opt.SetPrepareFunc(func(end geminio.End) error { // before any call of the client
		names.Store(end, string(end.Meta()))
		return nil
	})
	opt.SetHijack(func(ctx context.Context, method string, _ geminio.Request, resp geminio.Response) {
		end, _ := geminio.EndFrom(ctx)
		name, _ := names.Load(end)
		resp.SetData(fmt.Appendf(nil, "%v calls %s", name, method))
	})

	near, far := net.Pipe()
	go server.NewEndWithConn(far, opt)
	co := client.NewEndOptions()
	co.SetMeta([]byte("Ada"))
	end, err := client.NewEndWithConn(near, co)
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	resp, err := end.Call(context.Background(), "greet", end.NewRequest(nil))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Data())

	// Output:
	// Ada calls greet
}

// A middleware runs before and after each handler.
func ExampleMiddleware() {
	logged := func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			next(ctx, req, resp)
			fmt.Printf("%s: %d bytes, %d bytes, %v\n", req.Method(), len(req.Data()), len(resp.Data()), resp.Error())
		}
	}
	opt := client.NewEndOptions()
	opt.SetMiddleware(logged) // of the calls that the server makes
	near, far := connect(opt)
	defer near.Close()
	ctx := context.Background()
	near.Register(ctx, "upper", func(_ context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetData([]byte(strings.ToUpper(string(req.Data()))))
	})
	resp, err := far.Call(ctx, "upper", far.NewRequest([]byte("hello")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Data())

	// Output:
	// upper: 5 bytes, 5 bytes, <nil>
	// HELLO
}

// Each side can call methods of the other side.
func ExampleRPCer_Call() {
	ctx := context.Background()
	near, far := connect()
	defer near.Close()
	far.Register(ctx, "add", func(_ context.Context, req geminio.Request, resp geminio.Response) {
		var a, b int
		if _, err := fmt.Sscan(string(req.Data()), &a, &b); err != nil {
			resp.SetError(errors.New("two numbers, please"))
			return
		}
		resp.SetData(fmt.Append(nil, a+b))
	})

	opt := options.Call()
	opt.SetTimeout(time.Minute)
	resp, err := near.Call(ctx, "add", near.NewRequest([]byte("17 25")), opt)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Data())

	_, err = near.Call(ctx, "add", near.NewRequest([]byte("17")), opt)
	var remote *geminio.RemoteError // the error of the handler
	fmt.Println(errors.As(err, &remote), err)

	_, err = near.Call(ctx, "subtract", near.NewRequest(nil), opt)
	fmt.Println(err)
	// Output:
	// 42
	// true two numbers, please
	// no such rpc: subtract
}

// Many calls run concurrently. Their outcomes arrive on one channel.
func ExampleRPCer_CallAsync() {
	ctx := context.Background()
	near, far := connect()
	defer near.Close()
	far.Register(ctx, "upper", func(_ context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetData([]byte(strings.ToUpper(string(req.Data()))))
	})

	words := []string{"one", "two", "three"}
	done := make(chan *geminio.Call, len(words))
	for _, word := range words {
		if _, err := near.CallAsync(ctx, "upper", near.NewRequest([]byte(word)), done); err != nil {
			log.Fatal(err)
		}
	}
	for range words {
		call := <-done
		fmt.Printf("%s: %s, %v\n", call.Request.Data(), call.Response.Data(), call.Error)
	}
	// Unordered output:
	// one: ONE, <nil>
	// two: TWO, <nil>
	// three: THREE, <nil>
}

// The peer can call a method when Register has returned. Here the server calls a method of the
// client.
func ExampleRPCer_Register() {
	ctx := context.Background()
	near, far := connect()
	defer near.Close()
	err := near.Register(ctx, "name", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte("Ada"))
	})
	if err != nil {
		log.Fatal(err)
	}
	resp, err := far.Call(ctx, "name", far.NewRequest(nil))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Data())
	// Output: Ada
}

// Hijack takes precedence over registered methods, for calls whose method matches the pattern.
func ExampleRPCer_Hijack() {
	ctx := context.Background()
	near, far := connect()
	defer near.Close()
	far.Register(ctx, "ping", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte("pong"))
	})
	opt := options.Hijack()
	opt.SetMatch(true, `^api\.`)
	far.Hijack(func(_ context.Context, method string, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte("forwarded: " + method))
	}, opt)

	for _, method := range []string{"ping", "api.list"} {
		resp, err := near.Call(ctx, method, near.NewRequest(nil))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", resp.Data())
	}
	// Output:
	// pong
	// forwarded: api.list
}

// Publish returns the answer of the receiver: nil or an error.
func ExampleMessager_Publish() {
	ctx := context.Background()
	near, far := connect()
	defer near.Close()
	go func() {
		for {
			msg, err := far.Receive(ctx)
			if err != nil {
				return // io.EOF: the End is closed
			}
			if len(msg.Data()) == 0 {
				msg.Error(errors.New("the message is empty"))
				continue
			}
			msg.Done()
		}
	}()

	fmt.Println(near.Publish(ctx, near.NewMessage([]byte("work"))))
	fmt.Println(near.Publish(ctx, near.NewMessage(nil)))
	// Output:
	// <nil>
	// the message is empty
}

// The outcomes of many messages arrive on one channel.
func ExampleMessager_PublishAsync() {
	ctx := context.Background()
	near, far := connect()
	defer near.Close()
	go func() {
		for {
			msg, err := far.Receive(ctx)
			if err != nil {
				return
			}
			msg.Done()
		}
	}()

	const messages = 100
	done := make(chan *geminio.Publish, messages)
	for i := range messages {
		if _, err := near.PublishAsync(ctx, near.NewMessage(fmt.Append(nil, i)), done); err != nil {
			log.Fatal(err)
		}
	}
	answered := 0
	for range messages {
		if p := <-done; p.Error == nil {
			answered++
		}
	}
	fmt.Println(answered)
	// Output: 100
}

// The messages of a stream are received in order. A message has a topic and custom bytes. An
// at-most-once message is not answered.
func ExampleMessager_Receive() {
	ctx := context.Background()
	near, far := connect()
	for i, topic := range []string{"temperature", "pressure"} {
		opt := options.NewMessage()
		opt.SetTopic(topic)
		opt.SetCustom([]byte("sensor 7"))
		opt.SetCnss(options.CnssAtMostOnce)
		if err := near.Publish(ctx, near.NewMessage(fmt.Append(nil, 20+i), opt)); err != nil {
			log.Fatal(err)
		}
	}
	near.Close() // delivers the queued messages

	for {
		msg, err := far.Receive(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s of %s: %s, %v\n", msg.Topic(), msg.Custom(), msg.Data(), msg.Cnss())
	}
	// Output:
	// temperature of sensor 7: 20, at most once
	// pressure of sensor 7: 21, at most once
	// EOF
}

// A stream is a net.Conn with a name and a description.
func ExampleMultiplexer_OpenStream() {
	near, far := connect()
	defer near.Close()
	go func() {
		for {
			stream, err := far.AcceptStream()
			if err != nil {
				return
			}
			go func() {
				defer stream.Close()
				question, err := io.ReadAll(stream) // until CloseWrite of the other side
				if err != nil {
					return
				}
				fmt.Fprintf(stream, "%s (%s) says: %s", stream.Peer(), stream.Meta(), question)
			}()
		}
	}()

	opt := options.OpenStream()
	opt.SetPeer("echo service")
	opt.SetMeta([]byte("version 1"))
	stream, err := near.OpenStream(opt)
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	io.WriteString(stream, "is anybody there?")
	geminio.CloseWrite(stream)
	answer, err := io.ReadAll(stream)
	fmt.Printf("%s, %v\n", answer, err)
	// Output: echo service (version 1) says: is anybody there?, <nil>
}

// An End is a net.Listener whose connections are streams. Here the client of the connection
// serves HTTP to the server.
func ExampleEnd_http() {
	near, far := connect()
	served := make(chan error, 1)
	go func() {
		served <- http.Serve(near, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s from behind the NAT", r.URL.Path)
		}))
	}()

	transport := &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return far.OpenStream() },
	}
	defer transport.CloseIdleConnections()
	c := http.Client{Transport: transport}
	resp, err := c.Get("http://the-other-side/hello")
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Printf("%s, %v\n", body, err)

	near.Close()
	fmt.Println(<-served)
	// Output:
	// /hello from behind the NAT, <nil>
	// EOF
}

// The error of a call says whether the peer may have executed it when the connection ended. A
// call after the end is not started.
func ExampleInterruptedError() {
	ctx := context.Background()
	near, far := connect()
	entered := make(chan struct{})
	far.Register(ctx, "transfer", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
		close(entered)
		<-ctx.Done() // the connection has ended
	})
	call, err := near.CallAsync(ctx, "transfer", near.NewRequest(nil), nil)
	if err != nil {
		log.Fatal(err)
	}
	<-entered
	far.Close()

	<-call.Done
	var interrupted *geminio.InterruptedError
	fmt.Println(errors.As(call.Error, &interrupted), errors.Is(call.Error, geminio.ErrMaybeExecuted))
	_, err = near.Call(ctx, "transfer", near.NewRequest(nil))
	fmt.Println(err == io.EOF)
	// Output:
	// true true
	// true
}

// A message that is too large for the peer is refused before any part of it is sent.
func ExampleLimitError() {
	opt := client.NewEndOptions()
	opt.SetMaxMessageSize(1000) // the largest message that the client accepts
	near, far := connect(opt)
	defer near.Close()
	err := far.Publish(context.Background(), far.NewMessage(make([]byte, 2000)))
	var limit *geminio.LimitError
	fmt.Println(errors.Is(err, geminio.ErrTooLarge), errors.As(err, &limit))
	fmt.Println(limit.Value > limit.Limit, limit.Limit)
	// Output:
	// true true
	// true 1000
}
