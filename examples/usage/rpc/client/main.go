// Command client calls a method of the server.
package main

import (
	"context"
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/usage/internal/run"
)

func main() { run.Client("calls the server's method greet", call) }

func call(ctx context.Context, dial client.Dialer, opt *client.EndOptions) error {
	end, err := client.NewEndWithDialer(dial, opt)
	if err != nil {
		return err
	}
	defer end.Close()
	for _, name := range []string{"Ada", ""} {
		resp, err := end.Call(ctx, "greet", end.NewRequest([]byte(name)))
		if failed, ok := err.(*geminio.RemoteError); ok {
			fmt.Printf("greet %q failed: %v\n", name, failed)
			continue
		}
		if err != nil {
			return err // an error of the connection
		}
		fmt.Printf("greet %q: %s\n", name, resp.Data())
	}
	return nil
}
