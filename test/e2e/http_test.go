package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"go/version"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// An End is a net.Listener and its streams are connections: net/http, crypto/tls
// and httputil work on them as on any others.

// dialer opens a stream for each connection that net/http wants.
func dialer(e geminio.End, opened *atomic.Int64) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		if opened != nil {
			opened.Add(1)
		}
		return e.OpenStream()
	}
}

// serve serves handler on l until the test ends.
func serve(t *testing.T, l net.Listener, handler http.Handler) *http.Server {
	s := &http.Server{Handler: handler}
	done := kit.Start(func() error { return s.Serve(l) })
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != http.ErrServerClosed && err != io.EOF {
			t.Error(err)
		}
	})
	return s
}

// hashing answers with the hash of the body in a header, and the body.
func hashing(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Hash", fmt.Sprintf("%x", sha256.Sum256(body)))
	w.Write(body)
}

// post sends a body to hashing and checks what comes back.
func post(c *http.Client, url string, body []byte) error {
	resp, err := c.Post(url, "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	back, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(body)); resp.Header.Get("Hash") != want || !bytes.Equal(back, body) {
		return fmt.Errorf("status %d and %d bytes, want %d bytes, or bytes that differ", resp.StatusCode, len(back), len(body))
	}
	return nil
}

func TestHTTP(t *testing.T) {
	for _, network := range kit.Networks("tcp", "unix", "tls", "pipe") {
		for _, byServer := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/served by server %v", network, byServer), func(t *testing.T) {
				p := rig.NewPair(t, network, nil, nil)
				dials, serves := p.Client, p.Server
				if !byServer {
					dials, serves = serves, dials
				}
				serve(t, serves, http.HandlerFunc(hashing))
				transport := &http.Transport{DialContext: dialer(dials, nil), MaxIdleConnsPerHost: 32}
				defer transport.CloseIdleConnections()
				c := &http.Client{Transport: transport}

				require.NoError(t, post(c, "http://any/", large()[:kit.Amount(network, 8<<20)]))
				for i := range 20 {
					require.NoError(t, post(c, "http://any/", large()[:i*1000]))
				}
				var work []func() error
				for i := range kit.Amount(network, 200) {
					work = append(work, func() error { return post(c, "http://any/", large()[i:][:i*500]) })
				}
				require.NoError(t, all(work...))
			})
		}
	}
}

// TestHTTPKeepsTheStream requires that requests one after the other share a stream. It runs
// in a bubble: an http.Transport gives up a connection if the goroutine that has written the
// request does not report it within 50 ms, which a busy machine exceeds.
func TestHTTPKeepsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := rig.NewPair(t, "pipe", nil, nil)
		serve(t, p.Server, http.HandlerFunc(hashing))
		var opened atomic.Int64
		transport := &http.Transport{DialContext: dialer(p.Client, &opened)}
		defer transport.CloseIdleConnections()
		c := &http.Client{Transport: transport}
		for _, size := range []int{1 << 20, 0, 1, 1000, 20_000} {
			require.NoError(t, post(c, "http://any/", large()[:size]))
		}
		require.EqualValues(t, 1, opened.Load(), "streams opened for requests one after the other")
	})
}

// TestHTTPServerShutdown shuts down an http.Server whose listener is the End.
func TestHTTPServerShutdown(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	s := &http.Server{Handler: http.HandlerFunc(hashing)}
	served := kit.Start(func() error { return s.Serve(p.Server) })
	transport := &http.Transport{DialContext: dialer(p.Client, nil)}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	require.NoError(t, post(c, "http://any/", []byte("hello")))

	kit.Within(t, promptly, "Shutdown", func() { require.NoError(t, s.Shutdown(context.Background())) })
	require.Equal(t, http.ErrServerClosed, kit.Await(t, promptly, "the return of Serve", served))
	_, err := p.Client.AcceptStream()
	require.Equal(t, io.EOF, err)
	require.Error(t, post(c, "http://any/", nil))
}

// TestHTTPRequestUnderWay closes the connection in the middle of a request.
func TestHTTPRequestUnderWay(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	entered := make(chan struct{})
	serve(t, p.Server, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		close(entered)
		<-r.Context().Done()
	}))
	transport := &http.Transport{DialContext: dialer(p.Client, nil)}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://any/")
	require.NoError(t, err)
	defer resp.Body.Close()
	kit.Await(t, kit.Forever, "the start of the handler", entered)
	body := kit.Start(func() error { _, err := io.ReadAll(resp.Body); return err })
	p.Server.Close()
	require.Error(t, kit.Await(t, promptly, "the end of the body", body))
}

func TestTLSOverStream(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b halfCloser) {
		c, s := tls.Client(a, kit.ClientTLS()), tls.Server(b, kit.ServerTLS())
		data := large()[:kit.Amount("tcp", 2<<20)]
		require.NoError(t, all(
			func() error { return push(c, data, 50_000) },
			func() error {
				back, err := io.ReadAll(s)
				if !bytes.Equal(back, data) {
					return fmt.Errorf("%d bytes: %v", len(back), err)
				}
				s.Close() // its close_notify is not read
				return err
			},
		))
		require.Equal(t, uint16(tls.VersionTLS13), c.ConnectionState().Version)
	})
}

func TestEndsOverTLS(t *testing.T) {
	nl, err := tls.Listen("tcp", "127.0.0.1:0", kit.ServerTLS())
	require.NoError(t, err)
	l, err := server.NewListener(nl)
	require.NoError(t, err)
	defer l.Close()
	dial := func() (net.Conn, error) { return tls.Dial("tcp", l.Addr().String(), kit.ClientTLS()) }
	c, err := client.NewEndWithDialer(dial)
	require.NoError(t, err)
	defer c.Close()
	s, err := l.AcceptEnd()
	require.NoError(t, err)
	defer s.Close()

	require.NoError(t, s.Register(kit.Deadline(t), "echo", rig.Echo))
	for _, n := range []int{0, 100, 1 << 20} {
		resp, err := c.Call(kit.Deadline(t), "echo", c.NewRequest(large()[:n]))
		require.NoError(t, err)
		require.True(t, bytes.Equal(large()[:n], resp.Data()))
	}
	a, b := rig.OpenStream(t, s, c)
	require.NoError(t, all(
		func() error { return push(a, large()[:8<<20], 0) },
		func() error { return expect(b, large()[:8<<20], 50<<10) },
	))
	_, err = client.NewEnd("tcp", l.Addr().String()) // without TLS
	require.Error(t, err)
}

// TestReverseProxyUpgrade has a proxy that reaches its backend through the streams of an End. A
// client upgrades its connection to raw bytes.
func TestReverseProxyUpgrade(t *testing.T) {
	closed := make(chan struct{}, 100)
	so := server.NewEndOptions()
	so.SetClosedStreamFunc(func(geminio.Stream) { closed <- struct{}{} })
	p := rig.NewPair(t, "tcp", nil, so)
	// The backend, at the End of the client, answers the lines of an upgraded connection in
	// upper case. At their end it sends a last line and closes.
	serve(t, p.Client, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "shout" {
			hashing(w, r)
			return
		}
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				io.WriteString(nc, "goodbye")
				return
			}
			io.WriteString(nc, strings.ToUpper(line))
		}
	}))
	var opened atomic.Int64
	transport := &http.Transport{DialContext: dialer(p.Server, &opened)}
	defer transport.CloseIdleConnections()
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "backend"}) },
		Transport: transport,
	}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serve(t, front, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Without it the front closes the request's body when the answer begins,
		// even while the transport still looks whether the body has ended.
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		proxy.ServeHTTP(w, r)
	}))
	plain := &http.Transport{}
	defer plain.CloseIdleConnections()
	require.NoError(t, post(&http.Client{Transport: plain}, "http://"+front.Addr().String(), large()[:1<<20]))

	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := shout(front.Addr().String()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// The streams end with the upgraded connections.
	transport.CloseIdleConnections()
	for range opened.Load() {
		kit.Await(t, kit.Forever, "the end of a stream", closed)
	}
	require.Len(t, p.Server.ListStreams(), 1)
}

// upgradeHalfCloses reports whether the ReverseProxy of this Go version passes on the end of
// one direction of an upgraded connection.
var upgradeHalfCloses = version.Compare(runtime.Version(), "go1.26") >= 0

// shout upgrades a connection and exchanges lines over it.
func shout(address string) error {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer nc.Close()
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: front\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	for i := range 100 {
		word := strings.Repeat("a", 1+i*10) + "\n"
		if _, err := io.WriteString(nc, word); err != nil {
			return err
		}
		if line, err := r.ReadString('\n'); err != nil || line != strings.ToUpper(word) {
			return fmt.Errorf("read the line %q, %v", line, err)
		}
	}
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	rest, err := io.ReadAll(r)
	if err != nil || !upgradeHalfCloses && len(rest) == 0 {
		return err
	}
	if string(rest) != "goodbye" {
		return fmt.Errorf("read %q after the half close", rest)
	}
	return nil
}
