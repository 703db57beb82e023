package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/inspect"
	"github.com/singchia/geminio/server"
)

// inspectorOf returns the host and port of the inspector of the command serve.
func inspectorOf(t *testing.T, log *buffer) string {
	t.Helper()
	m := regexp.MustCompile(`inspect at http://(\S+)/debug/geminio/\n`).FindStringSubmatch(log.String())
	require.NotNil(t, m, log.String())
	return m[1]
}

// inspected returns the URL of the inspector of a server with n clients.
func inspected(t *testing.T, n int) string {
	t.Helper()
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	for i := range n {
		opt := client.NewEndOptions()
		opt.SetClientID(uint64(1000 + i))
		end, err := client.NewEnd("tcp", l.Addr().String(), opt)
		require.NoError(t, err)
		t.Cleanup(func() { end.Close() })
		_, err = l.AcceptEnd()
		require.NoError(t, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/debug/geminio/", &inspect.Handler{
		Sources: []inspect.Source{l.(*server.Server)},
		Name:    func(e geminio.End) string { return fmt.Sprintf("device-%d", e.ClientID()) },
	})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	return site.URL
}

func TestInspectTables(t *testing.T) {
	url := inspected(t, 3)
	lines := strings.Split(want(t, "", "inspect", url), "\n")
	require.Len(t, lines, 5)
	assert.Regexp(t, `^ID +NAME +CLIENT +REMOTE +STATE +AGE +TRIP +STREAMS +CALLS`, lines[0])
	for i := range 3 {
		assert.Regexp(t, fmt.Sprintf(`^\w+ +device-%[1]d +%[1]d +127\.0\.0\.1:\d+ `, 1000+i), lines[i+1])
	}
	assert.Empty(t, lines[4])

	assert.Regexp(t, `\n\w+ +1001 +1 +recipient `, want(t, "", "inspect", url, "streams"))
	assert.Regexp(t, `^END +CLIENT +METHOD[^\n]*\n$`, want(t, "", "inspect", url+"/debug/geminio", "calls"))
	assert.Contains(t, want(t, "", "inspect", url, "--limit", "1"), "\nand 2 more\n")
	assert.Equal(t, 2, strings.Count(want(t, "", "inspect", url, "--filter", "device-1002"), "\n"))
	assert.Regexp(t, `STATE[^\n]*\n\w+ +device-1002`, want(t, "", "inspect", url, "--sort", "name", "--desc"))

	var end inspect.End
	require.NoError(t, json.Unmarshal([]byte(want(t, "", "inspect", url, "--json", "-n", "1")), &end))
	assert.EqualValues(t, 1000, end.ClientID)
	assert.Equal(t, 2, strings.Count(want(t, "", "inspect", url, "streams", "--end", end.ID), "\n"))
}

// More rows than a page has are on several pages.
func TestInspectAllRows(t *testing.T) {
	const n = maxInspectPage + 20
	url := inspected(t, n)
	for _, args := range [][]string{{"--limit", "0"}, {"--limit", fmt.Sprint(n)}} {
		out := want(t, "", append([]string{"inspect", url, "--json"}, args...)...)
		var ids []uint64
		for line := range strings.Lines(out) {
			var end inspect.End
			require.NoError(t, json.Unmarshal([]byte(line), &end))
			ids = append(ids, end.ClientID)
		}
		require.Len(t, ids, n)
		assert.True(t, slices.IsSorted(ids))
	}
	assert.Contains(t, want(t, "", "inspect", url, "--limit", fmt.Sprint(n-1)), "\nand 1 more\n")
}

func TestInspectErrors(t *testing.T) {
	url := inspected(t, 1)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/debug/geminio/hostile/" {
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(`{"error":"\u001b[2Jred\u202e"}`))
			return
		}
		w.Write([]byte("hello"))
	}))
	defer other.Close()
	for _, c := range []struct {
		args   []string
		status int
		text   string
	}{
		{[]string{url, "nothing"}, exitUsage, "ends, streams, calls, nodes or clients"},
		{[]string{url, "--limit", "-1"}, exitUsage, "--limit"},
		{[]string{url, "--sort", "nothing"}, exitUsage, "there is no such column"},
		{[]string{url, "streams", "--end", "zz"}, exitError, "This End has ended"},
		{[]string{"tcp://" + strings.TrimPrefix(url, "http://")}, exitUsage, "want http://host:port"},
		{[]string{"127.0.0.1:1"}, exitConnect, "refused"},
		{[]string{other.URL}, exitError, "is not an inspector"},
		{[]string{other.URL + "/debug/geminio/hostile/"}, exitError, `\x1b[2Jred\u202e`},
	} {
		r := command(t, "", append([]string{"inspect"}, c.args...)...)
		assert.Equal(t, c.status, r.status, "%s: %s", c.args, r.errOut)
		assert.Contains(t, r.errOut, c.text)
		assert.Empty(t, r.out)
	}
}

// Texts of a hostile process do not reach the terminal as they are.
func TestInspectTextsAreEscaped(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		page := inspect.Page[inspect.Call]{All: 1, Matching: 1, First: 1, Rows: []inspect.Call{{Method: "\x1b]0;x\a\u202ered\n"}}}
		json.NewEncoder(w).Encode(page)
	}))
	defer site.Close()
	assert.Contains(t, want(t, "", "inspect", site.URL, "calls"), `\x1b]0;x\a\u202ered\n`)
}

func TestInspectCompletion(t *testing.T) {
	complete := func(args ...string) string { return want(t, "", append([]string{"__complete", "inspect"}, args...)...) }
	assert.Contains(t, complete("localhost:6060", ""), "streams\t")
	assert.Contains(t, complete("localhost:6060", "calls", "--sort", ""), "method\n")
	assert.NotContains(t, complete("localhost:6060", "--sort", ""), "method\n")
}

// The columns that the shell completes are those of the inspector.
func TestInspectColumns(t *testing.T) {
	h := &inspect.Handler{Cluster: twoNodes(1)}
	for table, columns := range inspectTables {
		path := "/" + table
		if page, ok := inspectPages[table]; ok {
			path = "/" + page
		}
		for _, name := range columns {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, path+"?"+table+".sort="+name, nil))
			assert.Equal(t, http.StatusOK, w.Code, name)
		}
	}
}
