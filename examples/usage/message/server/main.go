// Command server receives messages and answers each with Done or an error.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/usage/internal/run"
	"github.com/singchia/geminio/server"
)

func main() { run.Server("receives messages", nil, serve) }

func serve(l server.Listener) error {
	for {
		end, err := l.AcceptEnd()
		if err != nil {
			return err
		}
		go receive(end)
	}
}

func receive(end geminio.End) {
	for {
		msg, err := end.Receive(context.Background())
		if err != nil {
			return // io.EOF: the End has ended
		}
		if len(msg.Data()) == 0 {
			msg.Error(errors.New("an empty message")) // Publish returns this text
			continue
		}
		fmt.Printf("received %q\n", msg.Data())
		msg.Done() // Publish returns nil
	}
}
