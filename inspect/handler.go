package inspect

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
)

//go:embed assets
var assets embed.FS

var pageTemplate = template.Must(template.ParseFS(assets, "assets/page.html"))

// files are the parts of the pages that do not change, by the last element of their paths.
var files = map[string]struct{ file, contentType string }{
	"inspect.css": {"assets/inspect.css", "text/css; charset=utf-8"},
	"inspect.js":  {"assets/inspect.js", "text/javascript; charset=utf-8"},
	"inspect.svg": {"assets/inspect.svg", "image/svg+xml"},
}

const (
	// maxPages is the most pages that a Handler makes at a time.
	maxPages = 4
	// maxParam is the longest parameter, in bytes, of a query.
	maxParam = 1024
	// policy is the content security policy. The pages have no inline scripts and styles.
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

// Handler is an http.Handler that shows Ends; see the documentation of the package. Its path must end
// in a slash, such as /debug/geminio/. It must not be reachable for the public. The fields are not
// changed after the first request. A Handler is safe for concurrent use, and must not be copied after
// the first request.
type Handler struct {
	// Sources supply the Ends. A Handler without Sources shows empty tables.
	Sources []Source

	// Cluster adds the pages of a cluster: its nodes, and its clients. If it is nil, there are none.
	Cluster Cluster

	// Program names the program on the pages. The default is the name of its file.
	Program string

	// Name returns the name of an End that operators know, such as that of a device. It must
	// be safe for concurrent use, and should be fast, because it can be called for all Ends
	// of a page, also of those that have just ended. If it is nil, Ends have no names.
	Name func(geminio.End) string

	// Hosts are the names in the URLs of the pages, such as that of a reverse proxy which passes the
	// Host on, without ports. Requests with another name are refused with the status 403; "localhost" and
	// addresses are always allowed. If it is nil, requests that arrive on the loopback interface have only
	// these, and others any name. Otherwise a page of another site could read the pages through the browser
	// of an operator, by DNS rebinding.
	Hosts []string

	// ShowMeta adds the metas of Ends and streams. They may be secrets, such as the tokens
	// of clients, which any viewer of the page could use. By default they are hidden.
	ShowMeta bool

	pages atomic.Int32 // that are being made
}

// ServeHTTP implements http.Handler. It answers requests whose methods are not GET and HEAD with the
// status 405, those by a host name that is not allowed with 403, queries that it does not understand with 400,
// paths that it does not have and Ends that have ended with 404, and requests beyond the fourth at a time with
// 503.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "the inspector answers GET and HEAD only", http.StatusMethodNotAllowed)
		return
	}
	if !h.admits(r) {
		http.Error(w, "the inspector is not read by this host name: use localhost or an address, or see Handler.Hosts", http.StatusForbidden)
		return
	}
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if f, ok := files[name]; ok {
		data, err := assets.ReadFile(f.file)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		header.Set("Content-Type", f.contentType)
		w.Write(data)
		return
	}
	build := builders[name]
	if build == nil {
		http.Error(w, "the inspector has no such page", http.StatusNotFound)
		return
	}
	if h.pages.Add(1) > maxPages {
		h.pages.Add(-1)
		header.Set("Retry-After", "1")
		http.Error(w, "the inspector makes other pages", http.StatusServiceUnavailable)
		return
	}
	status, contentType, body := h.render(build, r)
	header.Set("Content-Type", contentType)
	w.WriteHeader(status)
	w.Write(body)
}

// builders make the pages, by the last element of their paths.
var builders = map[string]func(*builder){
	"":        (*builder).endsPage,
	"end":     (*builder).endPage,
	"streams": (*builder).streamsPage,
	"calls":   (*builder).callsPage,
	"cluster": (*builder).clusterPage,
	"clients": (*builder).clientsPage,
}

// render makes a page, or its JSON. Nothing waits for the reader of the page here.
func (h *Handler) render(build func(*builder), r *http.Request) (status int, contentType string, body []byte) {
	defer h.pages.Add(-1)
	b := &builder{h: h, ctx: r.Context(), now: time.Now(), query: known(r.URL.Query())}
	b.asJSON = b.query.Get("format") == "json"
	build(b)
	var out bytes.Buffer
	if b.asJSON {
		e := json.NewEncoder(&out)
		e.SetIndent("", "  ")
		if err := e.Encode(b.result); err != nil {
			panic("BUG: " + err.Error())
		}
		return b.status, "application/json", out.Bytes()
	}
	b.finish()
	if err := pageTemplate.Execute(&out, &b.view); err != nil {
		panic("BUG: " + err.Error())
	}
	return b.status, "text/html; charset=utf-8", out.Bytes()
}

// known returns the parameters that the handler knows, without those that are too long, and with
// characters that do not print escaped as in the texts that they are compared with. All links of a page
// repeat the parameters, so their size is bounded.
func known(query url.Values) url.Values {
	kept := make(url.Values)
	for name, values := range query {
		table, param, ok := strings.Cut(name, ".")
		switch {
		case len(values) == 0 || values[0] == "" || len(values[0]) > maxParam:
		case !ok && (name == "end" || name == "node" || name == "format"), ok && tables[table] && params[param]:
			kept[name] = []string{escape(values[0])}
		}
	}
	return kept
}

// tables and params are the parts of the names of the parameters of tables.
var (
	tables = map[string]bool{"ends": true, "streams": true, "calls": true, "nodes": true, "clients": true}
	params = map[string]bool{"q": true, "only": true, "sort": true, "desc": true, "limit": true, "after": true, "before": true}
)

// pageView is a page, for the template.
type pageView struct {
	Program string
	Heading string
	Parent  navView // the link to the page above; without a title: none
	State   cell    // of the End or node
	Message string
	Nav     []navView
	Facts   []factsView
	Tables  []tableView
	Time    string
	Clock   string
	JSON    string
	Footer  []string
}

// navView is a link at the top.
type navView struct {
	Title, Href string
	Current     bool
}

// factsView is a group of facts about an End or a node.
type factsView struct {
	Title string
	Facts []factView
}

// factView is one of these facts.
type factView struct{ Title, Hint, Text string }

// builder makes one page. It is used by one goroutine.
type builder struct {
	h      *Handler
	ctx    context.Context // of the request
	now    time.Time
	query  url.Values
	asJSON bool

	status int
	view   pageView
	result any // in JSON
}

// Error is the JSON of a page that cannot be made.
type Error struct {
	Error string `json:"error"`
}

// fail makes a page that says why there is no other.
func (b *builder) fail(status int, heading, why string) {
	b.status = status
	b.view.Heading, b.view.Message = heading, why
	b.view.Tables, b.view.Facts = nil, nil
	b.result = Error{why}
}

// finish adds what all pages have.
func (b *builder) finish() {
	v := &b.view
	v.Program = printable(b.h.Program)
	if v.Program == "" {
		v.Program = printable(filepath.Base(os.Args[0]))
	}
	v.Time = b.now.Format(time.RFC3339Nano)
	v.Clock = b.now.Format("15:04:05 MST")
	v.Nav = b.nav(v.Heading)
	v.JSON = "?" + with(b.query, "format", "json").Encode()
	v.Footer = []string{"pid " + strconv.Itoa(os.Getpid()), runtime.Version(), formatCount(uint64(runtime.NumGoroutine())) + " goroutines"}
}

// with returns a query with another value of a parameter.
func with(query url.Values, name, value string) url.Values {
	changed := make(url.Values, len(query)+1)
	maps.Copy(changed, query)
	changed.Set(name, value)
	return changed
}
