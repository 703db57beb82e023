package websocket

import (
	"bufio"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// maxWaiting is how many WebSockets wait for Accept at most.
const maxWaiting = 4096

// ListenerOptions are the settings of a Listener. The zero value and nil are valid.
type ListenerOptions struct {
	// Origins lists the origins, besides the host of the request itself, whose pages may
	// connect. An origin is a pattern of path.Match for a host, such as "*.example.com", or
	// for a scheme and a host, such as "https://example.com". Requests without the header
	// Origin, which do not come from a browser, are always accepted.
	Origins []string
	// AnyOrigin lets pages of every origin connect. A page of another site can then use the
	// cookies of its visitor.
	AnyOrigin bool
	// Addr is the address that the Listener's Addr returns. Nil stands for an address whose
	// network and text are "websocket".
	Addr net.Addr
}

// Listener is an http.Handler that accepts WebSockets, and the net.Listener that returns them.
// All methods are safe for concurrent use.
type Listener struct {
	opts  ListenerOptions
	conns chan *Conn    // connections that ServeHTTP hands to Accept
	done  chan struct{} // closed by Close

	mu      sync.Mutex
	closed  bool
	waiting int // how many calls of ServeHTTP have not handed over their connection
}

var (
	_ net.Listener = (*Listener)(nil)
	_ http.Handler = (*Listener)(nil)
)

// NewListener returns a Listener. Nil options stand for the zero value. NewListener panics if a
// pattern of Origins is malformed.
func NewListener(opts *ListenerOptions) *Listener {
	l := &Listener{conns: make(chan *Conn), done: make(chan struct{})}
	if opts != nil {
		l.opts = *opts
		l.opts.Origins = slices.Clone(opts.Origins)
	}
	for _, origin := range l.opts.Origins {
		if _, err := path.Match(origin, ""); err != nil {
			panic("websocket: the pattern of an origin, " + origin + ": " + err.Error())
		}
	}
	return l
}

// Accept returns the next WebSocket, which is a *Conn. After Close it returns net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close makes Accept return net.ErrClosed, and ServeHTTP refuse requests with the status 503.
// WebSockets that Accept has not returned are closed; the others stay open. Close returns nil.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	return nil
}

// Addr returns ListenerOptions.Addr, or an address whose network and text are "websocket".
func (l *Listener) Addr() net.Addr {
	if l.opts.Addr != nil {
		return l.opts.Addr
	}
	return address{}
}

// address is the Addr of a Listener that was not given one.
type address struct{}

func (address) Network() string { return "websocket" }
func (address) String() string  { return "websocket" }

// ServeHTTP makes a WebSocket of the request and hands it to Accept. It returns when Accept has
// taken the connection, which stays open. It refuses a request that does not offer the
// subprotocol Subprotocol with the status 400, a page of another origin with 403, a request that
// is no WebSocket handshake with 426 or 400, and every request with 503 when the Listener is closed
// or when 4096 WebSockets wait for Accept.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !l.begin() {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the server takes no connections at the moment", http.StatusServiceUnavailable)
		return
	}
	defer l.end()
	if isUpgrade(r) && !offersSubprotocol(r) {
		http.Error(w, "the WebSocket subprotocol "+Subprotocol+" is required", http.StatusBadRequest)
		return
	}
	rec := &recorder{ResponseWriter: w}
	ws, err := websocket.Accept(rec, r, &websocket.AcceptOptions{
		Subprotocols:       []string{Subprotocol},
		OriginPatterns:     l.opts.Origins,
		InsecureSkipVerify: l.opts.AnyOrigin,
	})
	if err != nil {
		return // Accept has answered
	}
	select {
	case l.conns <- newConn(ws, rec.hijacked, r):
	case <-l.done:
		ws.Close(websocket.StatusGoingAway, "the server is closed")
	}
}

// begin counts a call of ServeHTTP, unless it must be refused.
func (l *Listener) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.waiting == maxWaiting {
		return false
	}
	l.waiting++
	return true
}

// end undoes begin.
func (l *Listener) end() {
	l.mu.Lock()
	l.waiting--
	l.mu.Unlock()
}

// isUpgrade reports whether r asks for a WebSocket.
func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// offersSubprotocol reports whether Subprotocol is among the subprotocols of r.
func offersSubprotocol(r *http.Request) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(name), Subprotocol) {
				return true
			}
		}
	}
	return false
}

// recorder remembers the connection that Hijack has returned.
type recorder struct {
	http.ResponseWriter
	hijacked net.Conn
}

// Hijack implements http.Hijacker.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	r.hijacked = c
	return c, rw, err
}
