package proc

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/inspect"
	"github.com/singchia/geminio/test/kit"
)

// Inspected returns the Ends that the flag -inspect of a server shows. p was started
// with that flag and an address without a host.
func Inspected(t testing.TB, p *Process) []inspect.End {
	t.Helper()
	return InspectedPage[inspect.Page[inspect.End]](t, p, "").Rows
}

// InspectedPage returns a page that the flag -inspect of a server shows, by its path.
func InspectedPage[Page any](t testing.TB, p *Process, path string) (page Page) {
	t.Helper()
	url := p.Expect(`inspect at (http://127\.0\.0\.1:\d+/debug/geminio/)\n`)[1] + path
	get := func(query string) (body []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(kit.Deadline(t), http.MethodGet, url+query, nil)
		require.NoError(t, err)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		body, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		return body
	}
	require.Contains(t, string(get("")), "<h1>")
	require.NoError(t, json.Unmarshal(get("?format=json"), &page))
	return page
}
