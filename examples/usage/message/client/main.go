// Command client publishes messages and prints the answer to each.
package main

import (
	"context"
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/examples/usage/internal/run"
)

func main() { run.Client("publishes three messages", publish) }

func publish(ctx context.Context, dial client.Dialer, opt *client.EndOptions) error {
	end, err := client.NewEndWithDialer(dial, opt)
	if err != nil {
		return err
	}
	defer end.Close()
	for _, text := range []string{"hello", "", "world"} {
		err := end.Publish(ctx, end.NewMessage([]byte(text))) // waits for the answer
		if _, refused := err.(*geminio.RemoteError); err != nil && !refused {
			return err // an error of the connection
		}
		fmt.Printf("published %q: %v\n", text, err)
	}
	return nil
}
