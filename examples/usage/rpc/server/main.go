// Command server has a method that its clients call.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/usage/internal/run"
	"github.com/singchia/geminio/server"
)

func main() {
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "greet", RPC: greet})
	run.Server("answers calls of its method greet", opt, serve)
}

func serve(l server.Listener) error {
	for {
		end, err := l.AcceptEnd()
		if err != nil {
			return err
		}
		fmt.Println("client", end.RemoteAddr())
	}
}

func greet(_ context.Context, req geminio.Request, resp geminio.Response) {
	if len(req.Data()) == 0 {
		resp.SetError(errors.New("no name given")) // Call returns this error
		return
	}
	resp.SetData(fmt.Appendf(nil, "hello, %s", req.Data()))
}
