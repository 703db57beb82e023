package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// get returns the response of a handler at /debug/geminio/.
func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/geminio/"+path, nil))
	return w
}

// getJSON decodes the JSON of a page.
func getJSON[T any](t *testing.T, h http.Handler, path string) (v T) {
	t.Helper()
	sign := "?"
	if strings.Contains(path, "?") {
		sign = "&"
	}
	w := get(t, h, path+sign+"format=json")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&v))
	return v
}

func TestHeaders(t *testing.T) {
	h := &Handler{Sources: []Source{fakeEnds(1)}}
	for path, contentType := range map[string]string{
		"": "text/html; charset=utf-8", "streams": "text/html; charset=utf-8", "calls?format=json": "application/json",
		"inspect.css": "text/css; charset=utf-8", "inspect.js": "text/javascript; charset=utf-8", "inspect.svg": "image/svg+xml",
		"nothing": "text/plain; charset=utf-8", "?ends.sort=x": "text/html; charset=utf-8",
	} {
		header := get(t, h, path).Header()
		assert.Equal(t, contentType, header.Get("Content-Type"), path)
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), path)
		assert.Equal(t, "no-store", header.Get("Cache-Control"), path)
		assert.Equal(t, "no-referrer", header.Get("Referrer-Policy"), path)
		csp := header.Get("Content-Security-Policy")
		assert.Contains(t, csp, "default-src 'none'", path)
		assert.NotContains(t, csp, "unsafe", path)
		assert.NotContains(t, csp, "*", path)
	}
}

func TestMethodsOfRequests(t *testing.T) {
	h := &Handler{Sources: []Source{fakeEnds(1)}}
	site := httptest.NewServer(h)
	defer site.Close()
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/debug/geminio/", nil))
		assert.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"), method)
	}
	resp, err := site.Client().Head(site.URL + "/")
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
}

// The pages have no inline scripts and styles, which the policy would refuse.
func TestNothingInline(t *testing.T) {
	h := &Handler{Sources: []Source{fakeEnds(3)}, Cluster: clusterOf(3)}
	id := getJSON[Page[End]](t, h, "").Rows[0].ID
	inline := regexp.MustCompile(`(?i)<style|<script(?: [^>]*)?>[^<]|\sstyle=|\son\w+=|javascript:`)
	for _, path := range []string{"", "streams", "calls", "cluster", "clients", "end?end=" + id, "end?end=zz", "?ends.sort=x"} {
		assert.NotRegexp(t, inline, get(t, h, path).Body.String(), path)
	}
}

func TestWrongRequests(t *testing.T) {
	h := &Handler{Sources: []Source{fakeEnds(3)}}
	for path, want := range map[string]int{
		"nothing": 404, "end": 400, "end?end=!": 400, "end?end=7": 404, "streams?end=7": 404, "calls?end=": 200,
		"?ends.sort=nothing": 400, "?ends.only=nothing": 400, "?ends.limit=0": 400, "?ends.limit=501": 400, "?ends.limit=x": 400,
		"?ends.after=x": 400, "?ends.after=0.0.0.0.0.&ends.before=0.0.0.0.0.": 400, "?ends.q=" + strings.Repeat("x", maxFilter+1): 400,
		"calls?calls.sort=nothing": 400, "?unknown=1&ends.unknown=2": 200,
	} {
		for _, format := range []string{"html", "json"} {
			sign := "?"
			if strings.Contains(path, "?") {
				sign = "&"
			}
			w := get(t, h, path+sign+"format="+format)
			assert.Equal(t, want, w.Code, path)
			if want == 400 && format == "json" {
				var e Error
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &e), path)
				assert.NotEmpty(t, e.Error)
			}
		}
	}
}

// A walk over the pages of the Ends, in each order, sees each End once.
func TestWalkOverEnds(t *testing.T) {
	const n = 137
	h := &Handler{Sources: []Source{fakeEnds(100), fakeEnds(n)[100:]}}
	for _, c := range endTable.columns {
		for _, desc := range []string{"0", "1"} {
			query := "?ends.limit=20&ends.sort=" + c.name + "&ends.desc=" + desc
			seen := make(map[uint64]bool)
			for query != "" {
				p := getJSON[Page[End]](t, h, query)
				require.Equal(t, n, p.All)
				require.Equal(t, n, p.Matching)
				require.Equal(t, len(seen)+1, p.First)
				for _, end := range p.Rows {
					require.False(t, seen[end.ClientID])
					seen[end.ClientID] = true
				}
				query = p.Next
			}
			require.Len(t, seen, n)
		}
	}
}

func TestOrderAndFilter(t *testing.T) {
	ends := fakeEnds(50)
	ends[7].snap.State = geminio.EndInterrupted
	ends[7].snap.LastInterruption = errors.New("the cable is cut")
	h := &Handler{Sources: []Source{ends}, Name: func(e geminio.End) string {
		return fmt.Sprintf("Device-%d", e.(*fakeEnd).snap.ClientID)
	}}
	ids := func(query string) (all []uint64) {
		for _, end := range getJSON[Page[End]](t, h, query).Rows {
			all = append(all, end.ClientID)
		}
		return all
	}
	assert.Equal(t, []uint64{1, 2, 3}, ids("?ends.limit=3"))
	assert.Equal(t, []uint64{50, 49, 48}, ids("?ends.limit=3&ends.sort=oldest&ends.desc=1"))
	assert.Equal(t, []uint64{8}, ids("?ends.only=interrupted"))
	assert.Equal(t, []uint64{8}, ids("?ends.q=CABLE"))
	assert.Equal(t, []uint64{17}, ids("?ends.q=device-17"))
	assert.Equal(t, []uint64{5}, ids("?ends.q=10.0.0.4:"))
	assert.Empty(t, ids("?ends.q=17&ends.only=interrupted"))

	calls := getJSON[Page[Call]](t, h, "calls?calls.limit=2")
	assert.Equal(t, 50, calls.All)
	assert.Equal(t, uint64(50), calls.Rows[0].ClientID, "the oldest call is first")
	assert.Equal(t, "running", calls.Rows[0].State)
	id := calls.Rows[0].End

	streams := getJSON[Page[Stream]](t, h, "streams?end="+id)
	require.Len(t, streams.Rows, 2)
	assert.Equal(t, "files", streams.Rows[1].Peer)

	page := getJSON[EndPage](t, h, "end?end="+id)
	assert.Equal(t, uint64(50), page.End.ClientID)
	assert.Len(t, page.Calls.Rows, 1)
	assert.Len(t, page.Streams.Rows, 2)
	assert.Equal(t, 100, getJSON[Page[Stream]](t, h, "streams").All)
}

// hostile are texts that a peer could send.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</td></table><h1>x`,
	`{{.}}`, "javascript:alert(1)", "</title><script>alert(1)</script>", "\u202egnp.exe", "\x1b[31mred\x1b[0m\x00\r\nX: y",
	"\xff\xfe<b>", "&lt;script&gt;", "<!--", strings.Repeat("<script>", 1000),
}

// Texts of the peer are texts on all pages: the tags of a page are those of a page with harmless
// texts.
func TestTextsOfThePeer(t *testing.T) {
	tags := regexp.MustCompile(`<[^>]*>`)
	page := func(text, filter string) []string {
		ends := fakeEnds(1)
		e := ends[0]
		e.snap.Meta, e.snap.LastInterruption = []byte(text), errors.New(text)
		e.snap.Cause, e.snap.LastFailure = errors.New(text), errors.New(text)
		e.snap.RemoteAddr = textAddr(text)
		e.calls[0].Method = text
		e.streams[1] = fakeStream{snap: geminio.StreamSnapshot{ClientID: 1, StreamID: 3, Peer: text, Meta: []byte(text)}}
		h := &Handler{Sources: []Source{ends}, ShowMeta: true, Program: text, Name: func(geminio.End) string { return text }}
		id := getJSON[Page[End]](t, h, "").Rows[0].ID
		var all []string
		for _, path := range []string{"?", "streams?", "calls?", "end?end=" + id + "&"} {
			filter := url.QueryEscape(filter)
			body := get(t, h, path+"ends.q="+filter+"&streams.q="+filter+"&calls.q="+filter).Body.String()
			for _, r := range body {
				require.True(t, r == '\n' || isPlain(string(r)) || r == '\u202f', "%q of %q", r, text)
			}
			for _, tag := range tags.FindAllString(body, -1) {
				// The texts are in titles and values, and ids and times differ.
				tag = regexp.MustCompile(` (title|value|href|id|datetime)="[^"]*"`).ReplaceAllString(tag, "")
				all = append(all, tag)
			}
		}
		return all
	}
	want := page("harmless", "")
	for _, text := range hostile {
		assert.Equal(t, want, page(text, ""), text)
		page("harmless", text[:min(len(text), 40)])
	}
}

// textAddr is a net.Addr with a given text.
type textAddr string

func (textAddr) Network() string  { return "fake" }
func (a textAddr) String() string { return string(a) }

// Metas are shown only if the program wants it.
func TestMetasAreHidden(t *testing.T) {
	ends := fakeEnds(1)
	ends[0].snap.Meta = []byte("secret-token")
	ends[0].streams[1] = fakeStream{snap: geminio.StreamSnapshot{ClientID: 1, StreamID: 3, Meta: []byte("secret-token")}}
	for _, show := range []bool{false, true} {
		h := &Handler{Sources: []Source{ends}, ShowMeta: show}
		id := getJSON[Page[End]](t, h, "").Rows[0].ID
		for _, path := range []string{"?", "streams?", "end?end=" + id + "&"} {
			for _, format := range []string{"html", "json"} {
				body := get(t, h, path+"format="+format).Body.String()
				assert.Equal(t, show, strings.Contains(body, "secret-token"), path)
			}
		}
		if !show { // a filter does not tell either
			assert.Zero(t, getJSON[Page[End]](t, h, "?ends.q=secret").Matching)
		}
	}
}

// A Handler without Sources, and one whose Ends have no snapshots, show what there is.
func TestLittleToShow(t *testing.T) {
	assert.Contains(t, get(t, &Handler{}, "").Body.String(), "There are no Ends.")
	assert.Contains(t, get(t, &Handler{}, "streams").Body.String(), "There are no streams.")
	assert.Contains(t, get(t, &Handler{}, "calls").Body.String(), "There are no calls in flight.")
	assert.Equal(t, []End{}, getJSON[Page[End]](t, &Handler{}, "").Rows)
}
