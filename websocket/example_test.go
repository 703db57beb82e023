package websocket_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/websocket"
)

// A server takes WebSockets at a path of its HTTP server, and a client calls a method there.
func Example() {
	l := websocket.NewListener(nil)
	mux := http.NewServeMux()
	mux.Handle("/geminio", l)
	site := httptest.NewServer(mux)
	defer site.Close()

	ends, err := server.NewListener(l)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ends.Close()
	go func() {
		end, err := ends.AcceptEnd()
		if err != nil {
			return
		}
		end.Register(context.Background(), "greet", func(_ context.Context, req geminio.Request, rsp geminio.Response) {
			rsp.SetData([]byte("hello " + string(req.Data())))
		})
	}()

	opts := client.NewEndOptions()
	opts.SetWaitRemoteRPCs("greet")
	end, err := client.NewEndWithDialer(websocket.Dialer("ws"+strings.TrimPrefix(site.URL, "http")+"/geminio", nil), opts)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end.Close()
	rsp, err := end.Call(context.Background(), "greet", end.NewRequest([]byte("you")))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(rsp.Data()))
	// Output: hello you
}
