package kit

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The networks are tcp, unix, tls (over TCP), pipe (net.Pipe), bytes, which is TCP that
// delivers one byte at a time, and those of AddNetwork. The environment variable NETWORK names
// one of them, other than pipe, that stands in wherever a test asks for tcp, so that a whole
// suite can run over another network.

// layer is the part of a network above its sockets.
type layer struct {
	listener func(net.Listener) net.Listener
	client   func(net.Conn) net.Conn
}

// layers has the networks with a layer above their sockets.
var layers = map[string]layer{
	"tls": {
		func(l net.Listener) net.Listener { return tls.NewListener(l, ServerTLS()) },
		func(nc net.Conn) net.Conn { return tls.Client(nc, ClientTLS()) },
	},
	"bytes": {
		func(l net.Listener) net.Listener { return byteListener{l} },
		func(nc net.Conn) net.Conn { return NewByteConn(nc) },
	},
}

// AddNetwork adds a network over TCP that has a layer above its sockets. It must be called
// before main. client must not wait for the other side.
func AddNetwork(name string, listener func(net.Listener) net.Listener, client func(net.Conn) net.Conn) {
	layers[name] = layer{listener, client}
}

// StandIn returns the network that stands in for tcp, or "" if none does.
//
// A test reads the variable when it runs, not when the program starts: the go command then
// knows that the cached result depends on it.
func StandIn() string { return standIn() }

var standIn = sync.OnceValue(func() string {
	network := os.Getenv("NETWORK")
	if _, ok := layers[network]; !ok && network != "" && network != "tcp" && network != "unix" {
		panic(fmt.Sprintf("NETWORK=%s: not unix, tls or bytes", network))
	}
	if network == "tcp" {
		return ""
	}
	return network
})

// inPlaceOf returns the network that a test uses when it asks for network.
func inPlaceOf(network string) string {
	if network == "tcp" && StandIn() != "" {
		return StandIn()
	}
	return network
}

// Networks returns the networks over which a test runs: those among some, or all if some is
// empty. If another network stands in for tcp, that one is the only result: the other
// networks are tested when none stands in.
func Networks(some ...string) []string {
	switch {
	case StandIn() != "":
		return []string{"tcp"}
	case len(some) == 0:
		return []string{"tcp", "unix", "tls", "pipe", "bytes"}
	}
	return some
}

// Amount returns the number of rounds or bytes of a test over a network, n over a fast one.
// The number is smaller where each round takes many times as long: byte by byte, and under
// the race detector. The environment variable LESS divides it too, for runs whose purpose
// does not depend on the number.
func Amount(network string, n int) int {
	if inPlaceOf(network) == "bytes" {
		n /= 16
	}
	return max(n/(Slowdown*less()), 1)
}

var less = sync.OnceValue(func() int {
	text := os.Getenv("LESS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		panic(fmt.Sprintf("LESS=%s: not a number of at least 1", text))
	}
	return n
})

// RawPair returns both ends of a transport.
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
	c = asClient(network, nc)
	if s, err = l.Accept(); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, s, nil
}

// TCPPair returns both ends of a TCP connection on the loopback interface. They are closed
// when the test ends.
func TCPPair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	f, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return n.(*net.TCPConn), f.(*net.TCPConn)
}

// Listen listens on a free address, over TCP or the network that stands in for it.
func Listen() (net.Listener, error) { return listen(inPlaceOf("tcp")) }

// Dial connects to the address of a listener made by Listen.
func Dial(address string) (net.Conn, error) {
	nc, err := DialRaw(address)
	if err != nil {
		return nil, err
	}
	return asClient(inPlaceOf("tcp"), nc), nil
}

// ListenRaw is Listen without the layer above the socket, such as TLS. A proxy passes on the
// bytes of that layer as they are.
func ListenRaw() (net.Listener, error) { return listenRaw(inPlaceOf("tcp")) }

func listen(network string) (net.Listener, error) {
	l, err := listenRaw(network)
	if err != nil {
		return nil, err
	}
	if above, ok := layers[network]; ok {
		return above.listener(l), nil
	}
	return l, nil
}

func asClient(network string, nc net.Conn) net.Conn {
	if above, ok := layers[network]; ok {
		return above.client(nc)
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

// DialRaw is Dial without the layer above the socket. The address decides between TCP and a
// Unix socket.
func DialRaw(address string) (net.Conn, error) {
	if strings.HasPrefix(address, "127.0.0.1:") {
		return net.Dial("tcp", address)
	}
	return net.Dial("unix", address)
}

// unixListener is a listener whose Close removes the directory of its socket.
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

// ByteConn is a net.Conn whose Read delivers one byte at a time.
type ByteConn struct {
	net.Conn
	r *bufio.Reader
}

// NewByteConn returns a ByteConn over nc.
func NewByteConn(nc net.Conn) *ByteConn { return &ByteConn{nc, bufio.NewReader(nc)} }

// Read reads one byte.
func (c *ByteConn) Read(p []byte) (int, error) { return c.r.Read(p[:min(1, len(p))]) }
