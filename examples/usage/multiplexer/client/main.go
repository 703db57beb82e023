// Command client accepts a stream from the server, and opens one to it.
package main

import (
	"context"
	"fmt"
	"io"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/usage/internal/run"
)

func main() { run.Client("accepts a stream and opens another", talk) }

func talk(ctx context.Context, dial client.Dialer, opt *client.EndOptions) error {
	end, err := client.NewEndWithDialer(dial, opt)
	if err != nil {
		return err
	}
	defer end.Close()
	context.AfterFunc(ctx, func() { end.Close() }) // ends blocked operations
	accepted, err := end.Accept()                  // any stream is a net.Conn
	if err != nil {
		return err
	}
	text, err := io.ReadAll(accepted)
	if err != nil {
		return err
	}
	fmt.Printf("the server says: %s\n", text)
	opened, err := end.OpenStream()
	if err == nil {
		fmt.Fprint(opened, "ping")
		geminio.CloseWrite(opened) // ends this direction
		text, err = io.ReadAll(opened)
		fmt.Printf("the server echoes: %s\n", text)
	}
	return err
}
