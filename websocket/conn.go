package websocket

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/coder/websocket"

	"github.com/singchia/geminio/metadata"
)

// Subprotocol is the name of the WebSocket subprotocol of geminio's wire 2.
const Subprotocol = "geminio.v2"

// Conn is a WebSocket as a net.Conn. Its methods are safe for concurrent use.
type Conn struct {
	net.Conn // of websocket.NetConn

	ws      *websocket.Conn
	closing atomic.Bool   // Close was called
	beneath net.Conn      // nil if it is not known
	request *http.Request // nil at the client
}

// newConn returns a Conn over ws, whose bytes travel over beneath.
func newConn(ws *websocket.Conn, beneath net.Conn, request *http.Request) *Conn {
	return &Conn{
		Conn: websocket.NetConn(context.Background(), ws, websocket.MessageBinary),
		ws:   ws, beneath: beneath, request: request,
	}
}

// Close closes the WebSocket with the status 1000 (normal closure). It returns when the other
// side has answered, after ten seconds at most. Read and Write that wait return then. A second
// Close returns net.ErrClosed.
func (c *Conn) Close() error {
	c.closing.Store(true)
	return c.ws.Close(websocket.StatusNormalClosure, "")
}

// Read implements net.Conn. After Close it returns net.ErrClosed.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.closing.Load() {
		// The handshake of Close discards what it reads, and leaves the state of the
		// reader as it was: p may have bytes from the middle of a later message.
		return 0, net.ErrClosed
	}
	if err != nil {
		return 0, err // the bytes of an incomplete read are still masked
	}
	return n, nil
}

// NetConn returns the connection that carries the WebSocket, which may be a *tls.Conn, or nil
// if it is not known. It is for settings of the socket and for the state of TLS; reading and
// writing would break the WebSocket.
func (c *Conn) NetConn() net.Conn { return c.beneath }

// Request returns the HTTP request that has opened the WebSocket, with its headers and cookies.
// It is nil at the client. The request's context has ended, and its body must not be read.
func (c *Conn) Request() *http.Request { return c.request }

// HandshakeMetadata returns the headers of Request for the Metadata of delegate.ConnInfo: the
// header "X-Token" as "http-x-token". The host of the request is "http-host", and its path with the
// query "http-target". The headers of the WebSocket handshake itself are missing. It returns nil at the
// client.
func (c *Conn) HandshakeMetadata() metadata.MD {
	if c.request == nil {
		return nil
	}
	md := metadata.MD{}
	for name, values := range c.request.Header {
		name = strings.ToLower(name)
		if name != "connection" && name != "upgrade" && !strings.HasPrefix(name, "sec-websocket-") {
			md.Set("http-"+name, values...)
		}
	}
	md.Set("http-host", c.request.Host)
	md.Set("http-target", c.request.URL.RequestURI())
	return md
}

// LocalAddr returns the local address of the connection that carries the WebSocket.
func (c *Conn) LocalAddr() net.Addr {
	if c.beneath != nil {
		return c.beneath.LocalAddr()
	}
	return c.Conn.LocalAddr()
}

// RemoteAddr returns the remote address of the connection that carries the WebSocket. Behind a
// reverse proxy it is the address of the proxy; see Request for the headers that name the client.
func (c *Conn) RemoteAddr() net.Addr {
	if c.beneath != nil {
		return c.beneath.RemoteAddr()
	}
	return c.Conn.RemoteAddr()
}
