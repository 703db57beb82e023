package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
)

// serveCommand makes this program the web server that the tunnels lead to.
const serveCommand = "serve"

// answer is what the web server answers to a small request.
const answer = "The quick brown fox jumps over the lazy dog, and back again over the fence. 0123456789abcdef.\n"

// The paths of the web server.
const (
	pathSmall    = "/small"    // answers with answer
	pathDownload = "/download" // answers with bytes without end
	pathUpload   = "/upload"   // reads the body and answers with its length
)

// handler returns the web server's handler.
func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(pathSmall, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) })
	mux.HandleFunc(pathDownload, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.FormatInt(1<<50, 10))
		chunk := make([]byte, 64<<10)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	mux.HandleFunc(pathUpload, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, make([]byte, 64<<10))
		fmt.Fprint(w, n)
	})
	return mux
}

// serve is the process of the web server. It ends when its standard input does, and returns
// the exit code.
func serve(addr string) int {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go http.Serve(l, handler())
	io.Copy(io.Discard, os.Stdin)
	return 0
}
