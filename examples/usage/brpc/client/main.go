// Command client calls a method of the server, and has one that the server calls.
package main

import (
	"context"
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/usage/internal/run"
)

func main() { run.Client("calls the server's greet, and answers its calls of name", call) }

func call(ctx context.Context, dial client.Dialer, opt *client.EndOptions) error {
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "name", RPC: name})
	opt.SetWaitRemoteRPCs("greet") // until the server has registered it
	end, err := client.NewEndWithDialer(dial, opt)
	if err != nil {
		return err
	}
	defer end.Close()
	resp, err := end.Call(ctx, "greet", end.NewRequest([]byte("good morning")))
	if err != nil {
		return err
	}
	fmt.Printf("the server says: %s\n", resp.Data())
	return nil
}

func name(_ context.Context, _ geminio.Request, resp geminio.Response) {
	fmt.Println("the server asks for the name")
	resp.SetData([]byte("Ada"))
}
