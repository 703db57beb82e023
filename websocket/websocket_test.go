package websocket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// site is an HTTP server with a Listener at the path /geminio.
type site struct {
	*httptest.Server
	l *Listener
}

// newSite starts a site, with TLS or without, and closes it when the test ends.
func newSite(t *testing.T, secure bool, opts *ListenerOptions) *site {
	t.Helper()
	l := NewListener(opts)
	mux := http.NewServeMux()
	mux.Handle("/geminio", l)
	s := &site{httptest.NewUnstartedServer(mux), l}
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		l.Close()
		s.Close()
		s.Client().CloseIdleConnections()
	})
	return s
}

// url returns the URL of the Listener.
func (s *site) url() string { return strings.Replace(s.URL, "http", "ws", 1) + "/geminio" }

// options returns options with the client of the site, which trusts its certificate.
func (s *site) options() *DialOptions { return &DialOptions{HTTPClient: s.Client()} }

// pair returns the two ends of a WebSocket of the site.
func (s *site) pair(t *testing.T) (near, far *Conn) {
	t.Helper()
	accepted := make(chan net.Conn, 1)
	done := kit.Start(func() error {
		c, err := s.l.Accept()
		accepted <- c
		return err
	})
	near, err := Dial(t.Context(), s.url(), s.options())
	require.NoError(t, err)
	require.NoError(t, kit.Await(t, kit.Forever, "Accept", done))
	far = (<-accepted).(*Conn)
	t.Cleanup(func() {
		closed := kit.Start(near.Close)
		far.Close()
		<-closed
	})
	return near, far
}

// echo answers a request with its data.
func echo(_ context.Context, req geminio.Request, rsp geminio.Response) { rsp.SetData(req.Data()) }

// serve accepts Ends over l, each with the method echo and with streams that are copied back,
// until the test ends.
func serve(t *testing.T, l net.Listener) server.Listener {
	t.Helper()
	ends, err := server.NewListener(l)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			end, err := ends.AcceptEnd()
			if err != nil {
				return
			}
			wg.Go(func() {
				assert.NoError(t, end.Register(context.Background(), "echo", echo))
				for {
					stream, err := end.AcceptStream()
					if err != nil {
						return
					}
					wg.Go(func() {
						io.Copy(stream, stream)
						geminio.CloseWrite(stream)
					})
				}
			})
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), kit.Forever)
		defer cancel()
		assert.NoError(t, geminio.Shutdown(ctx, ends))
		wg.Wait()
	})
	return ends
}

// Calls and a large stream work over ws and wss, with a plain and with a retry End.
func TestEnds(t *testing.T) {
	for name, secure := range map[string]bool{"ws": false, "wss": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, secure, nil)
			serve(t, s.l)
			dialer := Dialer(s.url(), s.options())
			plain, err := client.NewEndWithDialer(dialer)
			require.NoError(t, err)
			retry, err := client.NewRetryEndWithDialer(dialer)
			require.NoError(t, err)
			for _, end := range []geminio.End{plain, retry} {
				require.Eventually(t, func() bool {
					rsp, err := end.Call(t.Context(), "echo", end.NewRequest([]byte("hello")))
					return err == nil && string(rsp.Data()) == "hello"
				}, kit.Forever, time.Millisecond)
				stream, err := end.OpenStream()
				require.NoError(t, err)
				sent := kit.BytesOf(1, 8<<20)
				written := kit.Start(func() error {
					if _, err := stream.Write(sent); err != nil {
						return err
					}
					return geminio.CloseWrite(stream)
				})
				sum := sha256.New()
				n, err := io.Copy(sum, stream)
				require.NoError(t, err)
				require.NoError(t, kit.Await(t, kit.Forever, "write", written))
				require.EqualValues(t, len(sent), n)
				want := sha256.Sum256(sent)
				require.Equal(t, want[:], sum.Sum(nil))
				require.NoError(t, end.Close())
			}
		})
	}
}

// A session continues over another WebSocket when the connection is lost.
func TestSessionSurvivesCuts(t *testing.T) {
	s := newSite(t, false, nil)
	ends := make(chan geminio.End, 10)
	l, err := server.NewListener(s.l)
	require.NoError(t, err)
	accepted := kit.Start(func() error {
		for {
			end, err := l.AcceptEnd()
			if err != nil {
				return err
			}
			ends <- end
		}
	})
	var mu sync.Mutex
	var last *Conn
	dial := Dialer(s.url(), s.options())
	end, err := client.NewRetryEndWithDialer(func() (net.Conn, error) {
		nc, err := dial()
		if err == nil {
			mu.Lock()
			last = nc.(*Conn)
			mu.Unlock()
		}
		return nc, err
	})
	require.NoError(t, err)
	peer := kit.Await(t, kit.Forever, "accept", ends)
	require.NoError(t, peer.Register(t.Context(), "echo", echo))
	stream, err := end.OpenStream()
	require.NoError(t, err)
	far, err := peer.AcceptStream()
	require.NoError(t, err)
	for i := range 5 {
		mu.Lock()
		last.NetConn().Close()
		mu.Unlock()
		line := []byte{byte(i)}
		_, err := stream.Write(line)
		require.NoError(t, err)
		got := make([]byte, 1)
		_, err = io.ReadFull(far, got)
		require.NoError(t, err)
		require.Equal(t, line, got)
		rsp, err := end.Call(t.Context(), "echo", end.NewRequest(line))
		require.NoError(t, err)
		require.Equal(t, line, rsp.Data())
	}
	require.Empty(t, ends, "Ends after the first")
	require.NoError(t, end.Close())
	require.NoError(t, l.Close())
	require.Equal(t, net.ErrClosed, kit.Await(t, kit.Forever, "AcceptEnd", accepted))
}

// Bytes pass in both directions, in pieces of any size, and Close ends both sides with io.EOF.
func TestConn(t *testing.T) {
	near, far := newSite(t, false, nil).pair(t)
	for _, c := range [][2]*Conn{{near, far}, {far, near}} {
		sent := kit.BytesOf(2, 300_000)
		written := kit.Start(func() error {
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), 1+len(rest)/3)
				if _, err := c[0].Write(rest[:n]); err != nil {
					return err
				}
				rest = rest[n:]
			}
			return nil
		})
		got := make([]byte, len(sent))
		_, err := io.ReadFull(c[1], got)
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent, got))
		require.NoError(t, kit.Await(t, kit.Forever, "write", written))
	}
	closed := kit.Start(near.Close)
	_, err := far.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.NoError(t, kit.Await(t, kit.Forever, "Close", closed))
	_, err = near.Write([]byte("x"))
	require.Error(t, err)
}

// The request, the addresses and the state of TLS can be found.
func TestConnDescribesItself(t *testing.T) {
	s := newSite(t, true, nil)
	accepted := kit.Start(func() error {
		c, err := s.l.Accept()
		if err != nil {
			return err
		}
		far := c.(*Conn)
		assert.Equal(t, "t0ken", far.Request().Header.Get("Authorization"))
		assert.IsType(t, &tls.Conn{}, far.NetConn())
		assert.Equal(t, far.NetConn().RemoteAddr(), far.RemoteAddr())
		assert.Equal(t, far.NetConn().LocalAddr(), far.LocalAddr())
		return far.Close()
	})
	opts := s.options()
	opts.Header = func(context.Context) (http.Header, error) {
		return http.Header{"Authorization": {"t0ken"}}, nil
	}
	near, err := Dial(t.Context(), s.url(), opts)
	require.NoError(t, err)
	require.IsType(t, &tls.Conn{}, near.NetConn())
	require.Nil(t, near.Request())
	require.Equal(t, near.NetConn().RemoteAddr(), near.RemoteAddr())
	_, err = near.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.NoError(t, kit.Await(t, kit.Forever, "accept", accepted))
	near.Close()
}

// A request that is not allowed gets a status that says so, and Accept does not return it.
func TestRefusals(t *testing.T) {
	header := func(kv ...string) func(context.Context) (http.Header, error) {
		h := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			h.Set(kv[i], kv[i+1])
		}
		return func(context.Context) (http.Header, error) { return h, nil }
	}
	s := newSite(t, false, &ListenerOptions{Origins: []string{"*.example.com"}})
	go func() {
		for {
			c, err := s.l.Accept()
			if err != nil {
				return
			}
			c.(*Conn).ws.CloseNow()
		}
	}()
	for origin, ok := range map[string]bool{
		"https://evil.example": false, "https://www.example.com": true, s.URL: true,
	} {
		opts := s.options()
		opts.Header = header("Origin", origin)
		c, err := Dial(t.Context(), s.url(), opts)
		if !ok {
			require.ErrorContains(t, err, "403", origin)
			continue
		}
		require.NoError(t, err, origin)
		c.ws.CloseNow()
	}
	_, _, err := websocket.Dial(t.Context(), s.url(), &websocket.DialOptions{Subprotocols: []string{"chat"}})
	require.ErrorContains(t, err, "400")
	_, _, err = websocket.Dial(t.Context(), s.url(), nil)
	require.ErrorContains(t, err, "400")
	rsp, err := s.Client().Get(s.URL + "/geminio")
	require.NoError(t, err)
	rsp.Body.Close()
	require.Equal(t, http.StatusUpgradeRequired, rsp.StatusCode)

	require.NoError(t, s.l.Close())
	_, err = Dial(t.Context(), s.url(), s.options())
	require.ErrorContains(t, err, "503")
	_, err = s.l.Accept()
	require.Equal(t, net.ErrClosed, err)
}

// A server that speaks another subprotocol, none, or no WebSocket is an error of Dial, and so is
// an error of DialOptions.Header.
func TestDialErrors(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/other" {
			http.NotFound(w, r)
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}})
		if assert.NoError(t, err) {
			c.Read(context.Background())
		}
	}))
	defer s.Close()
	url := strings.Replace(s.URL, "http", "ws", 1)
	_, err := Dial(t.Context(), url+"/other", &DialOptions{HTTPClient: s.Client()})
	require.ErrorIs(t, err, errNoSubprotocol)
	_, err = Dial(t.Context(), url+"/none", &DialOptions{HTTPClient: s.Client()})
	require.ErrorContains(t, err, "404")
	_, err = Dialer(url+"/none", &DialOptions{HTTPClient: s.Client()})()
	require.ErrorContains(t, err, "404")
	_, err = Dial(t.Context(), url, &DialOptions{
		Header: func(context.Context) (http.Header, error) { return nil, io.ErrNoProgress },
	})
	require.ErrorIs(t, err, io.ErrNoProgress)
}

// A text message ends the connection: the wire has binary messages only.
func TestTextMessage(t *testing.T) {
	near, far := newSite(t, false, nil).pair(t)
	done := kit.Start(func() error { _, err := far.Read(make([]byte, 1)); return err })
	require.NoError(t, near.ws.Write(t.Context(), websocket.MessageText, []byte("hello")))
	_, _, err := near.ws.Read(t.Context())
	require.Equal(t, websocket.StatusUnsupportedData, websocket.CloseStatus(err))
	require.Error(t, kit.Await(t, kit.Forever, "Read", done))
}

// Connections that wait for Accept are bounded, and Close ends them.
func TestWaitingConnections(t *testing.T) {
	s := newSite(t, false, nil)
	s.l.mu.Lock()
	s.l.waiting = maxWaiting - 1
	s.l.mu.Unlock()
	first, err := Dial(t.Context(), s.url(), s.options())
	require.NoError(t, err)
	_, err = Dial(t.Context(), s.url(), s.options())
	require.ErrorContains(t, err, "503")
	require.NoError(t, s.l.Close())
	_, err = first.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	first.Close()
}

// A pattern of an origin that path.Match refuses is an error of the program.
func TestMalformedOrigin(t *testing.T) {
	require.Panics(t, func() { NewListener(&ListenerOptions{Origins: []string{"[a"}}) })
}

// The connections work as conn expects: closing an End does not wait for a peer that is away.
func TestCloseWithAPeerThatIsAway(t *testing.T) {
	near, far := newSite(t, false, nil).pair(t)
	_ = far // it does not read, and so answers no close frame
	done := kit.Start(func() error { conn.Discard(near); return nil })
	require.NoError(t, kit.Await(t, kit.Forever, "Discard", done))
}

// A connection that breaks within a message gives no bytes of the incomplete read, which are
// not unmasked.
func TestCutWithinAMessage(t *testing.T) {
	s := newSite(t, false, nil)
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := s.l.Accept()
		assert.NoError(t, err)
		accepted <- c
	}()
	nc, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	require.NoError(t, err)
	defer nc.Close()
	_, err = io.WriteString(nc, "GET /geminio HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: "+Subprotocol+"\r\n\r\n")
	require.NoError(t, err)
	far := kit.Await(t, kit.Forever, "accept", accepted)
	mask := []byte{1, 2, 3, 4}
	masked := func(text string) []byte {
		b := []byte(text)
		for i := range b {
			b[i] ^= mask[i%len(mask)]
		}
		return b
	}
	frame := func(length int) []byte { return append([]byte{0x82, 0x80 | byte(length)}, mask...) }
	_, err = nc.Write(append(frame(5), masked("whole")...))
	require.NoError(t, err)
	_, err = nc.Write(append(frame(10), masked("a part")...))
	require.NoError(t, err)
	require.NoError(t, nc.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(far)
	require.Error(t, err)
	require.Equal(t, "whole", string(got))
	far.Close()
}

// authenticator records the metadata of the clients that connect.
type authenticator struct {
	*delegate.UnimplementedDelegate
	seen chan metadata.MD
}

func (a *authenticator) Authenticate(_ context.Context, info delegate.ConnInfo) (uint64, error) {
	a.seen <- info.Metadata
	return 7, nil
}

// The headers of the request reach the callback that authenticates the client. The client cannot
// set them by its own metadata.
func TestHeadersAreMetadata(t *testing.T) {
	s := newSite(t, false, nil)
	a := &authenticator{&delegate.UnimplementedDelegate{}, make(chan metadata.MD, 1)}
	so := server.NewEndOptions()
	so.SetDelegate(a)
	l, err := server.NewListener(s.l, so)
	require.NoError(t, err)
	defer l.Close()
	opts := s.options()
	opts.Header = func(context.Context) (http.Header, error) {
		return http.Header{"Cookie": {"session=1"}, "X-Two": {"a", "b"}}, nil
	}
	co := client.NewEndOptions()
	co.SetMetadata(metadata.Pairs("tenant", "blue", "http-cookie", "forged", "http-x-user", "root"))
	end, err := client.NewEndWithDialer(Dialer(s.url()+"?token=t", opts), co)
	require.NoError(t, err)
	defer end.Close()
	require.EqualValues(t, 7, end.ClientID())
	md := kit.Await(t, kit.Forever, "the metadata", a.seen)
	require.Equal(t, []string{"blue"}, md.Get("tenant"))
	require.Equal(t, []string{"session=1"}, md.Get("http-cookie"))
	require.Equal(t, []string{"a", "b"}, md.Get("http-x-two"))
	require.Equal(t, []string{"/geminio?token=t"}, md.Get("http-target"))
	require.Equal(t, []string{strings.TrimPrefix(s.URL, "http://")}, md.Get("http-host"))
	require.Empty(t, md.Get("http-x-user"))
	require.Empty(t, md.Get("http-sec-websocket-key"))
}

// One Server serves TCP and WebSockets. A client that changes from one to the other resumes its
// session.
func TestOneServerWithTCP(t *testing.T) {
	for _, order := range []string{"TCP first", "WebSocket first"} {
		t.Run(order, func(t *testing.T) {
			s := newSite(t, false, nil)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			srv := server.New()
			served := make(chan error, 2)
			for _, l := range []net.Listener{l, s.l} {
				go func() { served <- srv.Serve(l) }()
			}
			tcp := order == "TCP first"
			var mu sync.Mutex
			var last net.Conn
			opt := client.NewEndOptions()
			opt.SetContextDialer(func(ctx context.Context) (nc net.Conn, err error) {
				mu.Lock()
				defer mu.Unlock()
				if tcp {
					var d net.Dialer
					nc, err = d.DialContext(ctx, "tcp", l.Addr().String())
				} else {
					nc, err = Dial(ctx, s.url(), nil)
				}
				last, tcp = nc, !tcp
				return nc, err
			})
			end, err := client.NewRetryEndWithDialer(nil, opt)
			require.NoError(t, err)
			defer end.Close()
			peer, err := srv.AcceptEnd()
			require.NoError(t, err)
			for i := range 4 {
				text := []byte{byte(i)}
				_, err = peer.Write(text)
				require.NoError(t, err)
				got := make([]byte, 1)
				_, err = io.ReadFull(end, got)
				require.NoError(t, err)
				require.Equal(t, text, got)
				mu.Lock()
				last.Close()
				mu.Unlock()
			}
			found, ok := srv.End(end.ClientID())
			require.True(t, ok)
			assert.Same(t, peer, found)
			require.NoError(t, srv.Close())
			for range 2 {
				assert.Equal(t, net.ErrClosed, <-served)
			}
			peer.Close()
		})
	}
}
