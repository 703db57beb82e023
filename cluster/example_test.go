package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/server"
)

// Two nodes, of which the second one has a client. The first one calls a method of the client.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := embed.Start(ctx, embed.Options{})
	if err != nil {
		panic(err)
	}
	defer s.Close()

	var nodes []*cluster.Node
	for range 2 {
		nc, err := s.Connect()
		if err != nil {
			panic(err)
		}
		defer nc.Close()
		node, err := cluster.Join(ctx, nc, cluster.Options{Listen: "127.0.0.1:0"})
		if err != nil {
			panic(err)
		}
		defer node.Close()
		nodes = append(nodes, node)
	}

	l, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	attached := nodes[1].Listener(l)
	go attached.AcceptEnd()

	opt := client.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "greet", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetData(fmt.Appendf(nil, "hello, %s", req.Data()))
	}})
	end, err := client.NewEnd("tcp", l.Addr().String(), opt)
	if err != nil {
		panic(err)
	}
	defer end.Close()

	// The first node knows the client in a moment. Until then it was not called, so the call may be repeated.
	resp, err := nodes[0].Call(ctx, end.ClientID(), "greet", []byte("Ada"))
	for errors.Is(err, cluster.ErrClientOffline) {
		resp, err = nodes[0].Call(ctx, end.ClientID(), "greet", []byte("Ada"))
	}
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", resp.Data)
	// Output: hello, Ada
}

// A message is stored for a member of a group before its client connects.
func ExampleNode_BroadcastStored() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := embed.Start(ctx, embed.Options{})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	nc, err := s.Connect()
	if err != nil {
		panic(err)
	}
	defer nc.Close()
	node, err := cluster.Join(ctx, nc, cluster.Options{Listen: "127.0.0.1:0", StoreMaxAge: time.Hour})
	if err != nil {
		panic(err)
	}
	defer node.Close()

	if err := node.JoinGroup(ctx, 7, "room-7"); err != nil {
		panic(err)
	}
	if err := node.BroadcastStored(ctx, "room-7", "said", []byte("hello")); err != nil {
		panic(err)
	}

	l, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	attached := node.Listener(l)
	go attached.AcceptEnd()
	opt := client.NewEndOptions()
	opt.SetClientID(7)
	end, err := client.NewEnd("tcp", l.Addr().String(), opt)
	if err != nil {
		panic(err)
	}
	defer end.Close()
	m, err := end.Receive(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s: %s\n", m.Topic(), m.Data())
	m.Done() // otherwise the client gets the message again
	// Output: said: hello
}
