package rig

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The transports are tcp, unix, tls (over TCP), pipe (net.Pipe), and bytes, which is TCP
// that delivers one byte at a time. The environment variable NETWORK names one of them,
// other than pipe, that stands in wherever tcp is asked for, so that a whole suite can be
// run over another one.

// StandIn is the network that stands in for tcp, if any.
//
// It is asked for by the tests, not when the program starts: the go command sees only
// then that a result depends on it, and that another one is not to be had from its cache.
func StandIn() string { return standIn() }

var standIn = sync.OnceValue(func() string {
	network := os.Getenv("NETWORK")
	if !slices.Contains([]string{"", "tcp", "unix", "tls", "bytes"}, network) {
		panic(fmt.Sprintf("NETWORK=%s: not unix, tls or bytes", network))
	}
	if network == "tcp" {
		return ""
	}
	return network
})

// inPlaceOf returns the network that is to be used when one is asked for.
func inPlaceOf(network string) string {
	if network == "tcp" && StandIn() != "" {
		return StandIn()
	}
	return network
}

// Networks returns the networks among some, or all if there are none, over which a test
// runs. If another one stands in for tcp it is that alone: the others have their turn
// when none does.
func Networks(some ...string) []string {
	switch {
	case StandIn() != "":
		return []string{"tcp"}
	case len(some) == 0:
		return []string{"tcp", "unix", "tls", "pipe", "bytes"}
	}
	return some
}

// Amount returns how many rounds, or bytes, a test has over a network if it has n over a
// fast one: fewer where each takes many times as long, which is byte by byte, and under
// the race detector; and where the environment variable LESS says by how many times, since
// what is looked for does not depend on it.
func Amount(network string, n int) int {
	if inPlaceOf(network) == "bytes" {
		n /= 16
	}
	return max(n/(slowness*less()), 1)
}

var less = sync.OnceValue(func() int {
	text := os.Getenv("LESS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		panic(fmt.Sprintf("LESS=%s: not a number from 1 on", text))
	}
	return n
})

// RawPair makes both ends of a transport.
func RawPair(network string) (c, s net.Conn, err error) {
	network = inPlaceOf(network)
	if network == "pipe" {
		c, s = net.Pipe()
		return c, s, nil
	}
	l, err := listen(network)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	nc, err := DialRaw(l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	if s, err = l.Accept(); err != nil {
		nc.Close()
		return nil, nil, err
	}
	return asClient(network, nc), s, nil
}

// Listen listens on an address of its own, over TCP or what stands in for it.
func Listen() (net.Listener, error) { return listen(inPlaceOf("tcp")) }

// Dial connects to the address of a listener made by Listen.
func Dial(address string) (net.Conn, error) {
	nc, err := DialRaw(address)
	if err != nil {
		return nil, err
	}
	return asClient(inPlaceOf("tcp"), nc), nil
}

// ListenRaw and DialRaw are Listen and Dial without what goes over the socket: what
// they carry can be passed on unseen.
func ListenRaw() (net.Listener, error) { return listenRaw(inPlaceOf("tcp")) }

func listen(network string) (net.Listener, error) {
	l, err := listenRaw(network)
	if err != nil {
		return nil, err
	}
	switch network {
	case "tls":
		return tls.NewListener(l, ServerTLS()), nil
	case "bytes":
		return byteListener{l}, nil
	}
	return l, nil
}

func asClient(network string, nc net.Conn) net.Conn {
	switch network {
	case "tls":
		return tls.Client(nc, ClientTLS())
	case "bytes":
		return NewByteConn(nc)
	}
	return nc
}

func listenRaw(network string) (net.Listener, error) {
	if network != "unix" {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	dir, err := os.MkdirTemp("", "geminio")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return unixListener{l, dir}, nil
}

// DialRaw is described at ListenRaw. It tells from the address what it is one of.
func DialRaw(address string) (net.Conn, error) {
	if strings.HasPrefix(address, "127.0.0.1:") {
		return net.Dial("tcp", address)
	}
	return net.Dial("unix", address)
}

// unixListener takes its directory along when it closes.
type unixListener struct {
	net.Listener
	dir string
}

func (l unixListener) Close() error {
	defer os.RemoveAll(l.dir)
	return l.Listener.Close()
}

// byteListener accepts ByteConns.
type byteListener struct{ net.Listener }

func (l byteListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return NewByteConn(nc), nil
}

// ByteConn delivers one byte at a time.
type ByteConn struct {
	net.Conn
	r *bufio.Reader
}

// NewByteConn makes a ByteConn of nc.
func NewByteConn(nc net.Conn) *ByteConn { return &ByteConn{nc, bufio.NewReader(nc)} }

// Read reads one byte.
func (c *ByteConn) Read(p []byte) (int, error) { return c.r.Read(p[:min(1, len(p))]) }
