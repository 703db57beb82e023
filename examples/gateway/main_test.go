package main

// These tests run nodes and devices as processes.

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/examples/internal/proc"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/leak"
)

// program is the path of the built program.
var program string

func TestMain(m *testing.M) {
	built, cleanup, err := proc.Build([]string{"."}, proc.RaceFlags()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = built[0]
	code := leak.Run(m)
	cleanup()
	os.Exit(code)
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, proc.Forever, 20*time.Millisecond, what)
}

// site is the API of a node.
type site struct {
	t   *testing.T
	url string // without a slash at its end
}

// ask sends a request, and returns the status and the body of the answer.
func (s site) ask(method, path, body string) (code int, text string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(kit.Deadline(s.t), method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, strings.TrimSpace(string(data))
}

// get decodes the answer to a GET.
func (s site) get(path string, answer any) {
	s.t.Helper()
	code, text := s.ask(http.MethodGet, path, "")
	require.Equal(s.t, http.StatusOK, code, text)
	require.NoError(s.t, json.Unmarshal([]byte(text), answer), text)
}

// fails sends a request, and returns the failure that is the answer to it.
func (s site) fails(method, path, body string) failure {
	s.t.Helper()
	var f failure
	code, text := s.ask(method, path, body)
	require.NoError(s.t, json.Unmarshal([]byte(text), &f), "%d %s", code, text)
	require.NotEmpty(s.t, f.Error, "%d %s", code, text)
	f.Status = code
	return f
}

// clients returns the clients that the node knows, by id.
func (s site) clients() map[uint64]string {
	s.t.Helper()
	var page clientPage
	s.get("/clients?limit=10000", &page)
	hosts := make(map[uint64]string)
	for _, c := range page.Clients {
		hosts[c.ID] = c.Host
	}
	return hosts
}

// answers returns whether a call of a device through the node reaches that device.
func (s site) answers(id uint64) bool {
	s.t.Helper()
	code, text := s.ask(http.MethodPost, fmt.Sprintf("/clients/%d/call/status", id), "")
	var got status
	return code == http.StatusOK && json.Unmarshal([]byte(text), &got) == nil && got.ID == id
}

// serving is what a node prints when it serves.
const serving = `devices connect to (\S+), operators to (http://\S+)/clients\n`
