package ratelimit_test

import (
	"github.com/singchia/geminio/ratelimit"
	"github.com/singchia/geminio/server"
)

// All clients together may make ten thousand calls in a second, and each client a hundred.
func Example() {
	opts := server.NewEndOptions()
	opts.SetMiddleware(ratelimit.PerClient(100, 20), ratelimit.All(10_000, 1000))
	l, err := server.Listen("tcp", "127.0.0.1:0", opts)
	if err != nil {
		return
	}
	defer l.Close()
}
