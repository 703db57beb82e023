package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/websocket"
)

// tlsSettings are the flags for TLS.
type tlsSettings struct {
	ca, cert, key, name string
	insecure            bool
}

// register adds the flags.
func (t *tlsSettings) register(flags *pflag.FlagSet) {
	flags.StringVar(&t.ca, "ca", "", "file with the certificates that are trusted; with serve: clients need a certificate of them")
	flags.StringVar(&t.cert, "cert", "", "file with the own certificate")
	flags.StringVar(&t.key, "key", "", "file with the key of the own certificate")
	flags.StringVar(&t.name, "server-name", "", "name that the server's certificate must have; the host of the URL by default")
	flags.BoolVar(&t.insecure, "insecure", false, "do not verify the server's certificate")
}

// config returns the settings for a server with the given host.
func (t *tlsSettings) config(host string) (*tls.Config, error) {
	c := &tls.Config{ServerName: host, InsecureSkipVerify: t.insecure}
	if t.name != "" {
		c.ServerName = t.name
	}
	if t.ca != "" {
		pem, err := os.ReadFile(t.ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", t.ca)
		}
	}
	if t.cert != "" || t.key != "" {
		cert, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// target is the address of a URL.
type target struct {
	scheme  string // tcp, tls, unix, ws or wss
	address string // host:port, or a path
	host    string // without the port
	url     string // for ws and wss
}

// parseTarget parses the URL of a server, or host:port.
func parseTarget(s string) (target, error) {
	if !strings.Contains(s, "://") {
		s = "tcp://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return target{}, err
	}
	t := target{scheme: u.Scheme, address: u.Host, host: u.Hostname(), url: s}
	switch u.Scheme {
	case "tcp", "tls":
		if u.Port() == "" || u.Path != "" {
			return target{}, fmt.Errorf("%s: want %s://host:port", s, u.Scheme)
		}
	case "unix":
		t.address = u.Host + u.Path
		if t.address == "" {
			return target{}, fmt.Errorf("%s: want unix:///path", s)
		}
	case "ws", "wss":
		if u.Host == "" {
			return target{}, fmt.Errorf("%s: want %s://host/path", s, u.Scheme)
		}
	default:
		return target{}, fmt.Errorf("%s: the scheme is not tcp, tls, unix, ws or wss", s)
	}
	return t, nil
}

// dialer returns a dialer for a URL. Its error is one of the flags or of the URL.
func (s *settings) dialer(ctx context.Context, rawURL string) (client.Dialer, error) {
	t, err := parseTarget(rawURL)
	if err != nil {
		return nil, err
	}
	header, err := s.header()
	if err != nil {
		return nil, err
	}
	secure, err := s.tls.config(t.host)
	if err != nil {
		return nil, err
	}
	d := &net.Dialer{}
	var dial func(ctx context.Context) (net.Conn, error)
	switch t.scheme {
	case "tcp", "unix":
		dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, t.scheme, t.address) }
	case "tls":
		td := &tls.Dialer{NetDialer: d, Config: secure}
		dial = func(ctx context.Context) (net.Conn, error) { return td.DialContext(ctx, "tcp", t.address) }
	default:
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = secure
		opts := &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: transport},
			Header:     func(context.Context) (http.Header, error) { return header, nil },
		}
		dial = func(ctx context.Context) (net.Conn, error) {
			c, err := websocket.Dial(ctx, t.url, opts)
			if err != nil {
				return nil, err
			}
			return c, nil
		}
	}
	return func() (net.Conn, error) {
		ctx, cancel := s.limited(ctx)
		defer cancel()
		return dial(ctx)
	}, nil
}

// header returns the headers of the flags.
func (s *settings) header() (http.Header, error) {
	h := http.Header{}
	for _, line := range s.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("header %q: want \"Name: value\"", line)
		}
		h.Add(name, strings.TrimSpace(value))
	}
	return h, nil
}

// listen returns a listener for a URL, and a function that ends it.
func (s *settings) listen(rawURL string) (l net.Listener, addr net.Addr, stop func(), err error) {
	t, err := parseTarget(rawURL)
	if err != nil {
		return nil, nil, nil, usageError{err}
	}
	network := "tcp"
	if t.scheme == "unix" {
		network = "unix"
	}
	nl, err := net.Listen(network, t.address)
	if err != nil {
		return nil, nil, nil, err
	}
	if t.scheme == "tls" || t.scheme == "wss" {
		c, err := s.tls.serverConfig()
		if err != nil {
			nl.Close()
			return nil, nil, nil, usageError{err}
		}
		nl = tls.NewListener(nl, c)
	}
	if t.scheme != "ws" && t.scheme != "wss" {
		return nl, nl.Addr(), func() {}, nil
	}
	ws := websocket.NewListener(nil)
	mux := http.NewServeMux()
	u, _ := url.Parse(t.url)
	mux.Handle(patternOf(u.Path), ws)
	site := &http.Server{Handler: mux, ReadHeaderTimeout: s.timeout}
	go site.Serve(nl)
	return ws, nl.Addr(), func() { site.Close() }, nil
}

// patternOf returns the pattern for the path of a URL.
func patternOf(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// serverConfig returns the settings of a server.
func (t *tlsSettings) serverConfig() (*tls.Config, error) {
	if t.cert == "" {
		return nil, errors.New("a server with TLS needs --cert and --key")
	}
	c, err := t.config("")
	if err != nil {
		return nil, err
	}
	if c.RootCAs != nil {
		c.ClientCAs, c.ClientAuth = c.RootCAs, tls.RequireAndVerifyClientCert
	}
	return c, nil
}
