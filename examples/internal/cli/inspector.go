package cli

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/singchia/geminio/inspect"
)

// inspectPath is where the pages of an Inspector are.
const inspectPath = "/debug/geminio/"

// Inspector has the flag -inspect: a server shows its Ends over HTTP, for operators.
type Inspector struct{ addr string }

// InspectorFlag adds the flag.
func InspectorFlag(flags *flag.FlagSet) *Inspector {
	i := &Inspector{}
	flags.StringVar(&i.addr, "inspect", "", "show connections, streams and calls over HTTP on `ADDR` (host:port; the host is 127.0.0.1 by default), without TLS and without authentication; empty: do not")
	return i
}

// Serve serves h, if the flag is set, and prints where. stop ends that; it is to be called in any case.
func (i *Inspector) Serve(p *Program, h *inspect.Handler) (stop func(), err error) {
	if i.addr == "" {
		return func() {}, nil
	}
	host, port, err := net.SplitHostPort(i.addr)
	if err != nil {
		return nil, Usagef("-inspect: %v", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, err
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		p.Log.Warn("every program that reaches the address of -inspect sees the clients", "addr", l.Addr())
	}
	h.Program = p.Name
	mux := http.NewServeMux()
	mux.Handle(inspectPath, h)
	site := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		site.Serve(l)
	}()
	fmt.Fprintf(p.Stdout, "inspect at http://%s%s\n", l.Addr(), inspectPath)
	return func() {
		site.Close()
		<-done
	}, nil
}
