package inspect

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// On the loopback interface the pages are not read by the name of another site, which leads to this
// process by DNS rebinding.
func TestNamesOfOtherSites(t *testing.T) {
	for _, test := range []struct {
		host  string
		hosts []string // of the Handler
		want  int
	}{
		{"", nil, 200}, // the address of the site
		{"localhost:6060", nil, 200}, {"LOCALHOST.", nil, 200}, {"a.localhost", nil, 200}, {"[::1]:6060", nil, 200}, {"[::1]", nil, 200},
		{"10.0.0.1", nil, 200}, {"evil.example:6060", nil, 403}, {"localhost.evil.example", nil, 403}, {"127.0.0.1.evil.example", nil, 403},
		{"ops.example", []string{"ops.example"}, 200}, {"OPS.example.:443", []string{"ops.example"}, 200},
		{"evil.example", []string{"ops.example"}, 403}, {"localhost", []string{"ops.example"}, 200},
	} {
		site := httptest.NewServer(&Handler{Hosts: test.hosts})
		for _, path := range []string{"/", "/?format=json", "/inspect.js"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, site.URL+path, nil)
			require.NoError(t, err)
			if test.host != "" {
				r.Host = test.host
			}
			resp, err := site.Client().Do(r)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, test.want, resp.StatusCode, "%q %q %s", test.host, test.hosts, path)
		}
		site.Close()
	}
}

// On other interfaces the names are free, unless the Handler has a list.
func TestNamesOnOtherInterfaces(t *testing.T) {
	ask := func(hosts []string) int {
		local := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, local), http.MethodGet, "http://ops.example/", nil)
		w := httptest.NewRecorder()
		(&Handler{Hosts: hosts}).ServeHTTP(w, r)
		return w.Code
	}
	assert.Equal(t, 200, ask(nil))
	assert.Equal(t, 403, ask([]string{}))
	assert.Equal(t, 403, ask([]string{"other.example"}))
	assert.Equal(t, 200, ask([]string{"ops.example"}))
}
