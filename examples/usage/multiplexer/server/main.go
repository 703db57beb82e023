// Command server opens a stream to each client, and accepts streams from it.
package main

import (
	"fmt"
	"io"
	"net"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/usage/internal/run"
	"github.com/singchia/geminio/server"
)

func main() { run.Server("opens a stream to each client, and echoes on those of clients", nil, serve) }

func serve(l server.Listener) error {
	for {
		end, err := l.AcceptEnd()
		if err != nil {
			return err
		}
		go talk(end)
	}
}

func talk(end geminio.End) {
	if stream, err := end.OpenStream(); err == nil {
		fmt.Fprintf(stream, "welcome, %v", end.RemoteAddr())
		stream.Close() // the written bytes are still delivered
	}
	var l net.Listener = end // for the streams that the client opens
	for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
		go func() {
			io.Copy(conn, conn) // until the client ends its direction
			conn.Close()
		}()
	}
}
