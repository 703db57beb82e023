package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/server"
)

// connect returns both sides of a connection within this process.
func connect(clientOpt *client.EndOptions, serverOpt *server.EndOptions) (near, far geminio.End) {
	a, b := net.Pipe()
	accepted := make(chan geminio.End)
	go func() {
		far, err := server.NewEndWithConn(b, serverOpt)
		if err != nil {
			log.Fatal(err)
		}
		accepted <- far
	}()
	near, err := client.NewEndWithConn(a, clientOpt)
	if err != nil {
		log.Fatal(err)
	}
	return near, <-accepted
}

// The caller sends a token, and the handler answers with the name of its node.
func Example() {
	near, far := connect(nil, nil)
	defer near.Close()
	far.Register(context.Background(), "greet", func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
		md, _ := metadata.FromIncomingContext(ctx)
		if len(md.Get("token")) == 0 {
			resp.SetError(errors.New("no token"))
			return
		}
		metadata.SetOutgoing(ctx, metadata.Pairs("node", "a7"))
		resp.SetData([]byte("hello"))
	})

	_, err := near.Call(context.Background(), "greet", near.NewRequest(nil))
	fmt.Println("without:", err)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "token", "sesame")
	resp, err := near.Call(ctx, "greet", near.NewRequest(nil))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s from %v\n", resp.Data(), metadata.From(resp).Get("node"))
	// Output:
	// without: no token
	// hello from [a7]
}

// The handshake carries metadata in both directions.
func ExampleFrom() {
	clientOpt, serverOpt := client.NewEndOptions(), server.NewEndOptions()
	clientOpt.SetMetadata(metadata.Pairs("agent", "reporter/1.4"))
	serverOpt.SetMetadata(metadata.Pairs("zone", "eu"))
	near, far := connect(clientOpt, serverOpt)
	defer near.Close()
	fmt.Println("at the server:", metadata.From(far))
	fmt.Println("at the client:", metadata.From(near))

	ctx := metadata.AppendToOutgoingContext(context.Background(), "priority", "high")
	published := make(chan error, 1)
	go func() { published <- near.Publish(ctx, near.NewMessage([]byte("ready"))) }()
	m, err := far.Receive(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("message:", metadata.From(m))
	m.Done()
	<-published
	// Output:
	// at the server: map[agent:[reporter/1.4]]
	// at the client: map[zone:[eu]]
	// message: map[priority:[high]]
}

// A key may have several values, in their order.
func ExamplePairs() {
	md := metadata.Pairs("Via", "gateway", "via", "relay")
	md.Append("via", "edge")
	fmt.Println(md.Get("VIA"), md.Len(), md.Size())
	// Output: [gateway relay edge] 1 34
}

// An operation with metadata that is not valid sends nothing.
func ExampleError() {
	near, _ := connect(nil, nil)
	defer near.Close()
	ctx := metadata.NewOutgoingContext(context.Background(), metadata.MD{"Trace-Id": {"7"}})
	_, err := near.Call(ctx, "greet", near.NewRequest(nil))
	var bad *metadata.Error
	fmt.Println(errors.As(err, &bad), err)
	// Output: true metadata: key "Trace-Id": the key has the upper-case letter 'T'
}
