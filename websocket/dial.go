package websocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/coder/websocket"
	"github.com/singchia/geminio/client"
)

// dialTimeout bounds the dialing and the HTTP handshake of a Dialer.
const dialTimeout = 30 * time.Second

// errNoSubprotocol is the error of a server that speaks another protocol over WebSockets.
var errNoSubprotocol = errors.New("websocket: the server does not speak the subprotocol " + Subprotocol)

// DialOptions are the settings of Dial and Dialer. The zero value and nil are valid.
type DialOptions struct {
	// HTTPClient makes the handshake: it decides about proxies, TLS and cookies. Nil stands
	// for http.DefaultClient. A Timeout of it bounds the opening only.
	HTTPClient *http.Client
	// Header is sent with the request. It is called for each attempt, so that a token can be
	// renewed. Nil adds no headers. An error fails the attempt.
	Header func(context.Context) (http.Header, error)
	// Host replaces the host of the URL in the header Host. Empty leaves it.
	Host string
}

// Dial opens a WebSocket at a URL with the scheme ws, wss, http or https. ctx bounds the opening
// only. If the server answers with another status than 101, the error contains the status.
func Dial(ctx context.Context, url string, opts *DialOptions) (*Conn, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	var header http.Header
	if opts.Header != nil {
		h, err := opts.Header(ctx)
		if err != nil {
			return nil, fmt.Errorf("websocket: the headers of the request: %w", err)
		}
		header = h
	}
	var beneath net.Conn
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { beneath = i.Conn },
	})
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: opts.HTTPClient, HTTPHeader: header, Host: opts.Host, Subprotocols: []string{Subprotocol},
	})
	if err != nil {
		return nil, err
	}
	if ws.Subprotocol() != Subprotocol {
		ws.Close(websocket.StatusPolicyViolation, "the subprotocol "+Subprotocol+" is required")
		return nil, errNoSubprotocol
	}
	return newConn(ws, beneath, nil), nil
}

// Dialer returns a dialer that calls Dial, for package client. It gives up an attempt after 30
// seconds.
func Dialer(url string, opts *DialOptions) client.Dialer {
	return func() (net.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		defer cancel()
		c, err := Dial(ctx, url, opts)
		if err != nil {
			return nil, err // not a nil *Conn in an interface
		}
		return c, nil
	}
}
