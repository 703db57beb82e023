package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/cluster/embed"
	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/inspect"
	"github.com/singchia/geminio/test/kit"
)

// nodeUnderTest is the process of a node.
type nodeUnderTest struct {
	*proc.Process
	site
	devices string // the address for devices
}

// startNode starts a node.
func startNode(t *testing.T, name string, flags ...string) *nodeUnderTest {
	t.Helper()
	args := []string{"node", "-name", name, "-listen", "127.0.0.1:0", "-http", "127.0.0.1:0"}
	p := proc.Start(t, program, append(args, flags...)...)
	m := p.Expect(serving)
	return &nodeUnderTest{p, site{t, m[2]}, m[1]}
}

// stop ends the node with a signal.
func (n *nodeUnderTest) stop() {
	n.t.Helper()
	n.Signal(syscall.SIGTERM)
	assert.Zero(n.t, n.Wait(), "the exit code of the node")
}

// natsForTest starts a NATS server in this process. It returns the flags for it.
func natsForTest(t *testing.T) (s *embed.Server, flags []string) {
	t.Helper()
	s, err := embed.Start(t.Context(), embed.Options{Listen: "127.0.0.1:-1", Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s, []string{"-nats", s.URL()}
}

// codeOfPaper is the code of an error of the device of a test.
const codeOfPaper = geminio.FirstApplicationCode + 1

// connect connects a device of this process. It answers calls of the method upper, fails those of
// the method fail, and lets those of the method hang wait for the end of their context or of the test,
// after it has sent to entered. It refuses messages with the topic refused, and acknowledges others.
func (n *nodeUnderTest) connect(id uint64) (entered <-chan struct{}) {
	n.t.Helper()
	hanging, release := make(chan struct{}, 100), make(chan struct{})
	opt := client.NewEndOptions()
	opt.SetClientID(id)
	opt.SetRegisterLocalRPCs(
		&geminio.MethodRPC{Method: "upper", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
			resp.SetData([]byte(strings.ToUpper(string(req.Data()))))
		}},
		&geminio.MethodRPC{Method: "fail", RPC: func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			resp.SetError(&geminio.RemoteError{Code: codeOfPaper, Text: "no paper"})
		}},
		&geminio.MethodRPC{Method: "hang", RPC: func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
			hanging <- struct{}{}
			select {
			case <-ctx.Done():
				resp.SetError(ctx.Err())
			case <-release:
			}
		}},
	)
	end, err := client.NewEnd("tcp", n.devices, opt)
	require.NoError(n.t, err)
	done := kit.Start(func() error {
		for {
			msg, err := end.Receive(context.Background())
			switch {
			case err != nil:
				return err
			case msg.Topic() == "refused":
				msg.Error(&geminio.RemoteError{Code: codeOfPaper, Text: "not this"})
			default:
				msg.Done()
			}
		}
	})
	n.t.Cleanup(func() {
		close(release)
		end.Close()
		kit.Await(n.t, proc.Forever, "the end of the device", done)
	})
	return hanging
}

// knows waits until the node knows that a device is at a node with the given name.
func (n *nodeUnderTest) knows(id uint64, host string) {
	n.t.Helper()
	eventually(n.t, fmt.Sprintf("device %d is at %s", id, host), func() bool { return n.clients()[id] == host })
}

// The answers of the API, at a node with a NATS server of its own.
func TestAnswers(t *testing.T) {
	n := startNode(t, "solo")
	n.connect(7)
	n.knows(7, "solo")
	for _, test := range []struct {
		request, body string
		code          int
		answer        string // "": not compared
	}{
		{"GET /health", "", http.StatusOK, ""},
		{"POST /clients/7/call/upper", "ab", http.StatusOK, "AB"},
		{"POST /clients/7/publish/news", "ab", http.StatusNoContent, ""},
		{"PUT /groups/room/7", "", http.StatusNoContent, ""},
		{"PUT /groups/room/8", "", http.StatusNoContent, ""},
		{"GET /groups/room", "", http.StatusOK, "[7,8]"},
		{"POST /groups/room/broadcast/said?ack=true", "ab", http.StatusOK, `{"reached":1,"failed":0}`},
		{"POST /groups/room/broadcast/said", "ab", http.StatusOK, `{"reached":1,"failed":0}`},
		{"POST /groups/room/broadcast/said?store=true", "ab", http.StatusNoContent, ""},
		{"DELETE /groups/room/7", "", http.StatusNoContent, ""},
		{"GET /groups/room", "", http.StatusOK, "[8]"},
		{"POST /groups/none/broadcast/said", "ab", http.StatusOK, `{"reached":0,"failed":0}`},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		code, answer := n.ask(method, path, test.body)
		assert.Equal(t, test.code, code, "%s: %s", test.request, answer)
		if test.answer != "" {
			assert.Equal(t, test.answer, answer, test.request)
		}
	}
	for _, test := range []struct {
		request, body string
		code          int
		of            geminio.Code
	}{
		{"GET /clients/8", "", http.StatusNotFound, 0},
		{"POST /clients/8/call/upper", "ab", http.StatusNotFound, 0},
		{"GET /clients/0", "", http.StatusBadRequest, 0},
		{"POST /clients/x/call/upper", "", http.StatusBadRequest, 0},
		{"POST /clients/7/call/upper?timeout=x", "", http.StatusBadRequest, 0},
		{"POST /clients/7/call/upper", strings.Repeat("x", maxBody+1), http.StatusRequestEntityTooLarge, 0},
		{"POST /clients/7/call/none", "", http.StatusBadGateway, geminio.CodeNoMethod},
		{"POST /clients/7/call/fail", "", http.StatusBadGateway, codeOfPaper},
		{"POST /clients/7/publish/refused", "ab", http.StatusBadGateway, codeOfPaper},
		{"GET /clients?limit=0", "", http.StatusBadRequest, 0},
		{"GET /clients?after=x", "", http.StatusBadRequest, 0},
		{"POST /groups/room/broadcast/said?ack=x", "", http.StatusBadRequest, 0},
		{"POST /groups/room/broadcast/said?store=x", "", http.StatusBadRequest, 0},
		{"GET /groups/" + strings.Repeat("x", 129), "", http.StatusBadRequest, 0},
		{"GET /nothing", "", http.StatusNotFound, 0},
		{"GET /clients/7/call/upper", "", http.StatusNotFound, 0},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		f := n.fails(method, path, test.body)
		assert.Equal(t, test.code, f.Status, "%s: %s", test.request, f.Error)
		assert.Equal(t, test.of, f.Code, "%s: %s", test.request, f.Error)
	}
	assert.Equal(t, http.StatusGatewayTimeout, n.fails(http.MethodPost, "/clients/7/call/hang?timeout=50ms", "").Status)

	req, err := http.NewRequestWithContext(kit.Deadline(t), http.MethodPost, n.url+"/clients/7/call/upper", nil)
	require.NoError(t, err)
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusForbidden, resp.StatusCode, "a page of another site")
	n.stop()
}

// The clients are in pages, by id.
func TestPages(t *testing.T) {
	n := startNode(t, "solo")
	d := proc.Start(t, program, "devices", "-n", "5", "-first", "11", "-connect", n.devices)
	d.Expect(`5 devices are connected\n`)
	eventually(t, "the node knows all devices", func() bool { return len(n.clients()) == 5 })
	var ids []uint64
	for next := uint64(0); ; {
		var page clientPage
		n.get(fmt.Sprintf("/clients?limit=2&after=%d", next), &page)
		assert.Equal(t, 5, page.Total)
		for _, c := range page.Clients {
			ids = append(ids, c.ID)
		}
		if next = page.Next; next == 0 {
			break
		}
	}
	assert.Equal(t, []uint64{11, 12, 13, 14, 15}, ids)
	d.Signal(syscall.SIGTERM)
	assert.Zero(t, d.Wait())
	n.stop()
}

// A call is under way when the node of the device is killed: it fails, and says that the device may have
// acted. The device is offline then, until it connects to another node.
func TestNodeLost(t *testing.T) {
	_, nats := natsForTest(t)
	a := startNode(t, "a", append(nats, "-call-timeout", "1m")...)
	b := startNode(t, "b", append(nats, "-lease", "2s")...)
	entered := b.connect(7)
	a.knows(7, "b")
	call := kit.Start(func() failure { return a.fails(http.MethodPost, "/clients/7/call/hang", "") })
	kit.Await(t, proc.Forever, "the call reaches the device", entered)
	b.Kill()
	f := kit.Await(t, proc.Forever, "the call fails", call)
	assert.Equal(t, http.StatusBadGateway, f.Status, f.Error)
	assert.True(t, f.MaybeExecuted, f.Error)
	eventually(t, "the device is offline", func() bool {
		return a.fails(http.MethodPost, "/clients/7/call/upper", "ab").Status == http.StatusNotFound
	})
	a.connect(7)
	a.knows(7, "a")
	code, answer := a.ask(http.MethodPost, "/clients/7/call/upper", "ab")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "AB", answer)
	a.stop()
}

// Without NATS a node reaches its own devices, and says that it does not reach others.
func TestWithoutNATS(t *testing.T) {
	s, nats := natsForTest(t)
	a, b := startNode(t, "a", nats...), startNode(t, "b", nats...)
	a.connect(7)
	b.connect(8)
	a.knows(7, "a")
	a.knows(8, "b")
	s.Close()
	eventually(t, "the node is not healthy", func() bool {
		code, _ := a.ask(http.MethodGet, "/health", "")
		return code == http.StatusServiceUnavailable
	})
	code, answer := a.ask(http.MethodPost, "/clients/7/call/upper", "ab")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "AB", answer)
	for _, id := range []int{8, 9} {
		f := a.fails(http.MethodPost, fmt.Sprintf("/clients/%d/call/upper", id), "ab")
		assert.Equal(t, http.StatusServiceUnavailable, f.Status, f.Error)
		assert.False(t, f.MaybeExecuted, f.Error)
	}
	a.stop()
	b.stop()
}

// A node shows its devices in the inspector and counts them, and refuses devices without the token.
func TestOperators(t *testing.T) {
	token := proc.TokenFile(t, "a token of the gateway")
	n := startNode(t, "solo", "-inspect", ":0", "-token-file", token)
	code, text := proc.Run(t, program, "devices", "-n", "1", "-connect", n.devices)
	assert.Equal(t, 1, code)
	assert.Contains(t, text, "device 1: ")
	assert.Contains(t, text, "another token")
	d := proc.Start(t, program, "devices", "-n", "3", "-connect", n.devices, "-token-file", token)
	d.Expect(`3 devices are connected\n`)
	eventually(t, "metrics", func() bool {
		code, text := n.ask(http.MethodGet, "/metrics", "")
		return code == http.StatusOK && strings.Contains(text, "\ngeminio_cluster_clients{state=\"online\"} 3\n") &&
			strings.Contains(text, "\ngeminio_cluster_nodes 1\n") && strings.Contains(text, `geminio_connections_begun_total{side="server"}`)
	})
	ends := proc.Inspected(t, n.Process)
	require.Len(t, ends, 3)
	assert.Equal(t, deviceName(ends[0].ClientID), ends[0].Name)
	clients := proc.InspectedPage[inspect.Page[inspect.Client]](t, n.Process, "clients")
	require.Len(t, clients.Rows, 3)
	assert.Equal(t, "solo", clients.Rows[0].NodeName)
	assert.True(t, clients.Rows[0].Local)
	nodes := proc.InspectedPage[inspect.ClusterPage](t, n.Process, "cluster")
	assert.True(t, nodes.Stats.Connected)
	assert.Equal(t, 3, nodes.Nodes.Rows[0].Clients)
	n.stop()
}

// A wrong command line ends the program with the exit code 2.
func TestUsage(t *testing.T) {
	t.Setenv(natsVariable, "")
	for _, args := range []string{
		"", "nothing", "node extra", "node -call-timeout 0s", "node -nats-creds x", "node -nats nats://x -nats-dir y",
		"node -nats-routes 127.0.0.1:1", "node -listen 127.0.0.1:0 -http 127.0.0.1:0 -nats-routes 127.0.0.1:1 -nats-route-listen 127.0.0.1:1",
		"node -listen 127.0.0.1:0 -http 127.0.0.1:0 -lease 1ms", "devices extra", "devices -n 0", "demo extra", "demo -n 0", "demo -port -1",
	} {
		code, text := proc.Run(t, program, strings.Fields(args)...)
		assert.Equal(t, 2, code, "gateway %s: %s", args, text)
	}
}
