// Package network adds the networks "ws" and "nginx" to those of the end-to-end tests of
// geminio: WebSockets over TCP, and the same through a reverse proxy. Package main in ../e2e
// runs the tests over them.
package network

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/websocket"
)

// ProxyVariable is the environment variable with the address of the reverse proxy. It passes a
// request for the path /PORT on to that port of 127.0.0.1.
const ProxyVariable = "NGINX"

func init() {
	kit.AddNetwork("ws", listen, func(nc net.Conn) net.Conn {
		return newDialing(func(context.Context) (net.Conn, error) { return nc, nil }, nc)
	})
	kit.AddNetwork("nginx", listen, func(nc net.Conn) net.Conn {
		nc.Close() // the proxy connects to that address
		return newDialing(func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", os.Getenv(ProxyVariable))
		}, nc)
	})
}

// listener is the Listener of a server over a TCP listener.
type listener struct {
	*websocket.Listener
	site *http.Server
}

// listen returns a listener of WebSockets whose HTTP server runs over l.
func listen(l net.Listener) net.Listener {
	ws := websocket.NewListener(&websocket.ListenerOptions{Addr: l.Addr()})
	site := &http.Server{Handler: ws, ErrorLog: log.New(io.Discard, "", 0)}
	go site.Serve(l)
	return listener{ws, site}
}

// Close closes the HTTP server, too.
func (l listener) Close() error {
	l.Listener.Close()
	return l.site.Close()
}

// dialing is the client's side of a WebSocket whose opening may not be over yet. A Read or
// Write waits for the end of the opening.
type dialing struct {
	remote net.Addr
	cancel context.CancelFunc
	opened chan struct{} // closed when c or err is set
	c      net.Conn
	err    error

	mu          sync.Mutex
	read, write time.Time // deadlines that were set during the opening
	over        bool      // opened is about to be closed
}

// newDialing opens a WebSocket over a connection that dial makes. The address of nc names the
// server.
func newDialing(dial func(context.Context) (net.Conn, error), nc net.Conn) *dialing {
	ctx, cancel := context.WithCancel(context.Background())
	d := &dialing{remote: nc.RemoteAddr(), cancel: cancel, opened: make(chan struct{})}
	_, port, _ := net.SplitHostPort(d.remote.String())
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
	go func() {
		defer transport.CloseIdleConnections()
		c, err := websocket.Dial(ctx, "ws://geminio/"+port, &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: transport},
		})
		d.mu.Lock()
		defer d.mu.Unlock()
		defer close(d.opened)
		d.over = true
		if err != nil {
			nc.Close()
			d.err = err
			return
		}
		d.c = c
		if !d.read.IsZero() {
			c.SetReadDeadline(d.read)
		}
		if !d.write.IsZero() {
			c.SetWriteDeadline(d.write)
		}
	}()
	return d
}

func (d *dialing) Read(p []byte) (int, error) {
	if <-d.opened; d.err != nil {
		return 0, d.err
	}
	return d.c.Read(p)
}

func (d *dialing) Write(p []byte) (int, error) {
	if <-d.opened; d.err != nil {
		return 0, d.err
	}
	return d.c.Write(p)
}

func (d *dialing) Close() error {
	d.cancel() // ends an opening, and changes nothing after it
	if <-d.opened; d.err != nil {
		return nil
	}
	return d.c.Close()
}

// NetConn returns the connection that carries the WebSocket, or nil. It waits for the end of
// the opening.
func (d *dialing) NetConn() net.Conn {
	<-d.opened
	if c, ok := d.c.(*websocket.Conn); ok {
		return c.NetConn()
	}
	return nil
}

func (d *dialing) LocalAddr() net.Addr  { return d.remote }
func (d *dialing) RemoteAddr() net.Addr { return d.remote }

func (d *dialing) SetDeadline(t time.Time) error {
	d.SetReadDeadline(t)
	return d.SetWriteDeadline(t)
}

func (d *dialing) SetReadDeadline(t time.Time) error {
	return d.set(&d.read, t, func() error { return d.c.SetReadDeadline(t) })
}

func (d *dialing) SetWriteDeadline(t time.Time) error {
	return d.set(&d.write, t, func() error { return d.c.SetWriteDeadline(t) })
}

// set sets a deadline, which applies to the opening, too.
func (d *dialing) set(field *time.Time, t time.Time, apply func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over && d.c != nil {
		return apply()
	}
	*field = t
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !d.over && *field == t {
				d.cancel()
			}
		})
	}
	return nil
}

// Config returns a configuration of nginx for a reverse proxy at an address, with its files in
// a directory.
func Config(dir, address string) string {
	return strings.NewReplacer("DIR", dir, "ADDRESS", address).Replace(`
worker_processes 1;
daemon off;
pid DIR/pid;
error_log DIR/error.log;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	server {
		listen ADDRESS;
		location ~ ^/(\d+)$ {
			proxy_pass http://127.0.0.1:$1;
			proxy_http_version 1.1;
			proxy_set_header Host $host;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection upgrade;
			proxy_read_timeout 1h;
			proxy_send_timeout 1h;
		}
	}
}
`)
}
