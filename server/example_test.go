package server_test

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
)

// A server gives every stream that a client opens to a function.
func ExampleListen() {
	opt := server.NewEndOptions()
	opt.SetAcceptStreamFunc(func(stream geminio.Stream) {
		go func() {
			defer stream.Close()
			io.Copy(stream, stream) // until the client has no more to say
		}()
	})
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	end, err := client.NewEnd("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	stream, err := end.OpenStream()
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(stream, "echo")
	stream.(interface{ CloseWrite() error }).CloseWrite()
	answer, err := io.ReadAll(stream)
	fmt.Printf("%s %v\n", answer, err)
	// Output: echo <nil>
}

// Hijack handles calls by their method, whether registered or not.
func ExampleListener() {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	near, err := client.NewEnd("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer near.Close()
	far, err := l.AcceptEnd()
	if err != nil {
		log.Fatal(err)
	}
	far.Hijack(func(_ context.Context, method string, req geminio.Request, resp geminio.Response) {
		resp.SetData(append([]byte(method+": "), req.Data()...))
	})

	resp, err := near.Call(context.Background(), "anything", near.NewRequest([]byte("goes")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Data())
	// Output: anything: goes
}
