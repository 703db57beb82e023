package middleware_test

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/middleware"
	"github.com/singchia/geminio/server"
)

// A server logs its calls, wants a token with each of them, and bounds the running ones.
func Example() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTimes}))
	opt := server.NewEndOptions()
	opt.SetMiddleware(
		middleware.Log(logger, nil),
		middleware.Authenticate(func(ctx context.Context, _ string) (context.Context, error) {
			token, _ := middleware.Bearer(ctx)
			if subtle.ConstantTimeCompare([]byte(token), []byte("secret")) == 0 {
				return nil, errors.New("wrong token")
			}
			return ctx, nil
		}),
		middleware.Concurrency(middleware.Limits{Default: 100}),
		middleware.Deadline(10*time.Second),
	)
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "greet", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetData(fmt.Appendf(nil, "hello, %s", req.Data()))
	}})

	near, far := net.Pipe()
	go server.NewEndWithConn(far, opt)
	end, err := client.NewEndWithConn(near)
	if err != nil {
		log.Fatal(err)
	}
	defer end.Close()
	ctx := context.Background()
	_, err = end.Call(ctx, "greet", end.NewRequest([]byte("Ada")))
	fmt.Println("without a token:", err)
	ctx = metadata.AppendToOutgoingContext(ctx, middleware.AuthorizationKey, "Bearer secret")
	resp, err := end.Call(ctx, "greet", end.NewRequest([]byte("Ada")))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("with a token: %s\n", resp.Data())

	// Output:
	// level=INFO msg=call method=greet stream=1 code=1 request=3 response=0 err="wrong token"
	// without a token: wrong token
	// level=INFO msg=call method=greet stream=1 code=0 request=3 response=10
	// with a token: hello, Ada
}

// withoutTimes drops the attributes that are not the same in each run.
func withoutTimes(_ []string, a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.TimeKey, "duration", "client":
		return slog.Attr{}
	}
	return a
}
