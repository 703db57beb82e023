package main

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

// The maps of the server and the services of the node are in files. A service receives the
// address of the client by the PROXY protocol.
func TestFiles(t *testing.T) {
	token, plain := tokenFile(t, "the secret"), listen(t)
	behind := &proxyproto.Listener{Listener: listen(t), ReadHeaderTimeout: proc.Forever}
	go func() {
		for {
			c, err := behind.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, c.RemoteAddr().String()+" "+c.LocalAddr().String())
			c.Close()
		}
	}()
	maps := proc.SecretFile(t, "\"127.0.0.1:0\" = \"home/plain\"\n\"localhost:0\" = \"home/behind\"\n")
	services := proc.SecretFile(t, "plain = \""+plain.Addr().String()+"\"\n"+
		"[behind]\naddress = \""+behind.Addr().String()+"\"\nproxy-protocol = 2\n")
	s := proc.Start(t, program, "server", "-listen", "127.0.0.1:0", "-token-file", token, "-maps", maps)
	addr := s.Expect(`accepting nodes at (\S+)`)[1]
	public := [2]string{s.Expect(`(\S+) is home/plain\n`)[1], s.Expect(`(\S+) is home/behind\n`)[1]}
	startNode(t, token, addr, "home", "-services", services)
	pair(t, public[0], plain)

	c := dial(t, public[1])
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.Equal(t, c.LocalAddr().String()+" "+c.RemoteAddr().String(), string(got))
}

// -proxy-protocol applies to the services of -service.
func TestProxyProtocol(t *testing.T) {
	token, service := tokenFile(t, "the secret"), listen(t)
	s := startServer(t, token, []string{"home/web"})
	startNode(t, token, s.addr, "home", "-service", "web="+service.Addr().String(), "-proxy-protocol", "1")
	client := dial(t, s.public[0])
	service.SetDeadline(time.Now().Add(proc.Forever))
	served, err := service.Accept()
	require.NoError(t, err)
	defer served.Close()
	from, to := client.LocalAddr().(*net.TCPAddr), client.RemoteAddr().(*net.TCPAddr)
	assertReads(t, served, "PROXY TCP4 127.0.0.1 127.0.0.1 "+portOf(from)+" "+portOf(to)+"\r\n")
	exchange(t, client, served)
	exchange(t, served, client)
}

func portOf(a *net.TCPAddr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// assertReads expects the text want as the next bytes.
func assertReads(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(r, got)
	assert.NoError(t, err)
	assert.Equal(t, want, string(got))
}

func TestBadFiles(t *testing.T) {
	token := tokenFile(t, "the secret")
	server := []string{"server", "-listen", "127.0.0.1:0", "-token-file", token}
	node := []string{"node", "-connect", "127.0.0.1:1", "-token-file", token, "-name", "home"}
	for _, test := range []struct {
		args []string
		want string
	}{
		{append(server, "-maps", proc.SecretFile(t, `":0" = "home"`)), "a map is ADDR=NODE/SERVICE"},
		{append(server, "-maps", proc.SecretFile(t, `nonsense`)), "-maps: "},
		{append(server, "-maps", "nothing"), "nothing: no such file"},
		{append(node, "-services", proc.SecretFile(t, `"a b" = "x:1"`)), "is not a valid name of a service"},
		{append(node, "-services", proc.SecretFile(t, `a = "x:1"`), "-service", "a=y:1"), "two services"},
		{append(node, "-service", "a=y:1", "-proxy-protocol", "3"), "not a version of the PROXY protocol"},
	} {
		code, out := proc.Run(t, program, test.args...)
		assert.Equal(t, 2, code, "%q: %s", test.args, out)
		assert.Contains(t, out, test.want, "%q", test.args)
	}
}
