package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync/atomic"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
)

// serve runs f with the End of every client, and returns the address.
func serve(f func(geminio.End), opts ...*server.EndOptions) (address string, stop func() error) {
	l, err := server.Listen("tcp", "127.0.0.1:0", opts...)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			end, err := l.AcceptEnd()
			if err != nil {
				return
			}
			go f(end)
		}
	}()
	return l.Addr().String(), l.Close
}

// A client calls a method of the server, which calls one of the client's before
// it answers.
func ExampleNewEnd() {
	address, stop := serve(func(end geminio.End) {
		end.Register(context.Background(), "greet", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			name, err := end.Call(ctx, "name", end.NewRequest(nil))
			if err != nil {
				resp.SetError(err)
				return
			}
			resp.SetData(fmt.Appendf(nil, "%s, %s", req.Data(), name.Data()))
		})
	})
	defer stop()

	opt := client.NewEndOptions()
	opt.SetWaitRemoteRPCs("greet")
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{
		Method: "name",
		RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			resp.SetData([]byte("Ada"))
		},
	})
	end, err := client.NewEnd("tcp", address, opt)
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()

	resp, err := end.Call(context.Background(), "greet", end.NewRequest([]byte("Good morning")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Data())
	// Output: Good morning, Ada
}

// A stream is a net.Conn: what is written before Close arrives, and then io.EOF.
func ExampleNewEndWithDialer() {
	address, stop := serve(func(end geminio.End) {
		stream, err := end.OpenStream()
		if err != nil {
			return
		}
		io.WriteString(stream, "a file, say")
		stream.Close()
	})
	defer stop()

	end, err := client.NewEndWithDialer(func() (net.Conn, error) { return net.Dial("tcp", address) })
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	conn, err := end.Accept() // the End is a net.Listener
	if err != nil {
		log.Fatal(err)
	}
	content, err := io.ReadAll(conn)
	fmt.Printf("%s, %v\n", content, err)
	// Output: a file, say, <nil>
}

// Publish returns the answer of the receiver.
func ExampleNewEndWithConn() {
	near, far := net.Pipe()
	go func() {
		end, err := server.NewEndWithConn(far)
		if err != nil {
			return
		}
		for {
			msg, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			if msg.Topic() != "orders" {
				msg.Error(errors.New("no such topic"))
				continue
			}
			msg.Done()
		}
	}()
	end, err := client.NewEndWithConn(near)
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	for _, topic := range []string{"orders", "rumours"} {
		opt := options.NewMessage()
		opt.SetTopic(topic)
		fmt.Println(topic, end.Publish(context.Background(), end.NewMessage([]byte("42"), opt)))
	}
	// Output:
	// orders <nil>
	// rumours no such topic
}

// refusingDelegate refuses clients without the right word.
type refusingDelegate struct {
	*delegate.UnimplementedDelegate
}

func (refusingDelegate) GetClientID(_ uint64, meta []byte) (uint64, error) {
	if string(meta) != "sesame" {
		return 0, errors.New("wrong word")
	}
	return 0, nil // any id
}

// A refusal has the text of the server, and is not a network error.
func ExampleEndOptions_SetMeta() {
	guarded := server.NewEndOptions()
	guarded.SetDelegate(refusingDelegate{})
	address, stop := serve(func(geminio.End) {}, guarded)
	defer stop()

	opt := client.NewEndOptions()
	opt.SetMeta([]byte("barley"))
	_, err := client.NewEnd("tcp", address, opt)
	var refused *geminio.RefusedError
	fmt.Println(errors.As(err, &refused), err)
	// Output: true wrong word
}

// An End that reconnects: the connection is cut, and everything goes on. The server continues
// the session, so there is no new connection from the view of both Ends.
func ExampleNewRetryEndWithDialer() {
	methods := server.NewEndOptions()
	methods.SetRegisterLocalRPCs(&geminio.MethodRPC{
		Method: "echo",
		RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
			resp.SetData(req.Data())
		},
	})
	address, stop := serve(func(end geminio.End) {
		for {
			msg, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			msg.Done()
		}
	}, methods)
	defer stop()

	conns := make(chan net.Conn, 10)
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		conn, err := net.Dial("tcp", address)
		conns <- conn
		return conn, err
	})
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()

	(<-conns).Close() // breaks the connection

	ctx := context.Background()
	fmt.Println("publish:", end.Publish(ctx, end.NewMessage([]byte("order 42"))))
	twice := options.Call()
	twice.SetIdempotent(true) // otherwise a call in flight is not repeated if the server is restarted
	resp, err := end.Call(ctx, "echo", end.NewRequest([]byte("hello")), twice)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("call: %s\n", resp.Data())
	fmt.Println("connections:", end.(*client.RetryEnd).Stats().Connections)
	// Output:
	// publish: <nil>
	// call: hello
	// connections: 1
}

// bouncer refuses clients when the server is full.
type bouncer struct {
	*delegate.UnimplementedDelegate
	full *atomic.Bool
}

func (b bouncer) GetClientID(wanted uint64, _ []byte) (uint64, error) {
	if b.full.Load() {
		return 0, errors.New("no room")
	}
	return wanted, nil
}

// A client connects to one of several addresses, and to another one if that fails.
func ExampleDialAny() {
	address, stop := serve(func(end geminio.End) {
		fmt.Fprint(end, "welcome")
		end.Close()
	})
	defer stop()

	opt := client.NewEndOptions()
	opt.SetContextDialer(client.DialAny(client.Addresses("127.0.0.1:1", address), nil)) // over TCP
	end, err := client.NewRetryEndWithDialer(nil, opt)
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	text := make([]byte, 7)
	if _, err := io.ReadFull(end, text); err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(text))
	// Output: welcome
}

// By default a RetryEnd tries again after a refusal, as after any failure.
func ExampleRetryOptions_SetStopOnRefusal() {
	var full atomic.Bool
	guarded := server.NewEndOptions()
	guarded.SetDelegate(bouncer{full: &full})
	address, stop := serve(func(geminio.End) {}, guarded)
	defer stop()

	opt := client.NewEndOptions()
	opt.SetStopOnRefusal()
	conns := make(chan net.Conn, 10)
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		conn, err := net.Dial("tcp", address)
		conns <- conn
		return conn, err
	}, opt)
	if err != nil {
		log.Fatal(err)
	}

	full.Store(true)
	(<-conns).Close()
	retry := end.(*client.RetryEnd)
	<-retry.Done()
	fmt.Println(retry.Cause())
	// Output: no room
}
