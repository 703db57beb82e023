// Command server has a method that its clients call, and calls one of theirs.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/usage/internal/run"
	"github.com/singchia/geminio/server"
)

func main() { run.Server("answers greet, for which it calls the client's name", nil, serve) }

func serve(l server.Listener) error {
	for {
		end, err := l.AcceptEnd()
		if err != nil {
			return err
		}
		go offer(end)
	}
}

func offer(end geminio.End) {
	err := end.Register(context.Background(), "greet", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		name, err := end.Call(ctx, "name", end.NewRequest(nil)) // while the client waits
		if err != nil {
			resp.SetError(err)
			return
		}
		fmt.Printf("the client is %s\n", name.Data())
		resp.SetData(fmt.Appendf(nil, "%s, %s", req.Data(), name.Data()))
	})
	if err != nil {
		log.Print(err) // the client has disconnected
	}
}
