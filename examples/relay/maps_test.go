package main

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
)

// A chain leads to several targets: in has an address for each, and out has the address of each
// name. A target receives the address of the client by the PROXY protocol, over all hops.
func TestSeveralTargets(t *testing.T) {
	one, two, plain := listen(t), listen(t), listen(t)
	served(t, one, "one")
	served(t, plain, "plain")
	relay := startHop(t, roleRelayOut)
	startHop(t, roleOut, "-join", relay.nextAddr, "-target", plain.Addr().String(), "-targets", proc.SecretFile(t,
		"one = \""+one.Addr().String()+"\"\ntwo = {address = \""+two.Addr().String()+"\", proxy-protocol = 1}\n"))
	in := startHop(t, roleIn, "-next", relay.addr, "-maps", proc.SecretFile(t,
		"\"127.0.0.1:0\" = \"one\"\n\"localhost:0\" = \"two\"\n\"127.0.0.1:00\" = \"three\"\n"))
	addr := func(target string) string { return in.Expect(`in listens on (\S+) for ` + target + `\n`)[1] }
	assert.Equal(t, "plain", askName(t, in.Expect(`in listens on (\S+)\n`)[1]))
	assert.Equal(t, "one", askName(t, addr("one")))
	wantReset(t, addr("three"))
	in.Expect(`msg=broken target=three .*out has no target .*three`)

	client, err := net.Dial("tcp", addr("two"))
	require.NoError(t, err)
	defer client.Close()
	two.SetDeadline(time.Now().Add(proc.Forever))
	conn, err := two.Accept()
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(proc.Forever))
	r := bufio.NewReader(conn)
	header, err := r.ReadString('\n')
	require.NoError(t, err)
	port := func(a net.Addr) string { return a.String()[strings.LastIndex(a.String(), ":")+1:] }
	assert.Equal(t, "PROXY TCP4 127.0.0.1 127.0.0.1 "+port(client.LocalAddr())+" "+port(client.RemoteAddr())+"\r\n", header)
	_, err = io.WriteString(client, "hello\n")
	require.NoError(t, err)
	text, err := r.ReadString('\n')
	assert.NoError(t, err)
	assert.Equal(t, "hello\n", text)
}
