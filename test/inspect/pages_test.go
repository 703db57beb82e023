package inspect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/inspect"
)

// named returns a Handler for Ends of fleet.
func named(all ends) *inspect.Handler {
	return &inspect.Handler{Sources: []inspect.Source{all}, Program: "fleet", Name: func(e geminio.End) string { return e.(*fakeEnd).name }}
}

// A click on the head of a column sorts by it, and a second click reverses the order. The page does not
// load anew.
func TestSort(t *testing.T) {
	url := serve(t, named(fleet(300)))
	b := newTab(t)
	b.open(url)
	b.do(chromedp.Evaluate[chromedp.Void]("window.mark = 1"))
	first := "document.querySelector('#ends-rows tr td').textContent"
	name := "th a[href*='sort=name']"
	b.do(chromedp.Click(chromedp.CSS(name)))
	b.until(first + " === 'device-0001'")
	assert.Equal(t, "ascending", evaluate[string](b, "document.querySelector('th[aria-sort]').ariaSort"))
	names := b.texts("#ends-rows td:first-child")
	require.Len(t, names, 50)
	assert.True(t, slices.IsSorted(names))
	b.do(chromedp.Click(chromedp.CSS(name)))
	b.until(first + " === 'device-0300'")
	assert.Equal(t, "descending", evaluate[string](b, "document.querySelector('th[aria-sort]').ariaSort"))

	b.do(chromedp.Click(chromedp.CSS("a[rel=next]")))
	b.until(first + " === 'device-0250'")
	assert.Equal(t, "51–100 of 300", b.texts("#ends-range")[0])
	b.do(chromedp.Click(chromedp.CSS("a[rel=prev]")))
	b.until(first + " === 'device-0300'")
	assert.Equal(t, 1, evaluate[int](b, "window.mark"))
	assert.Contains(t, evaluate[string](b, "location.search"), "ends.sort=name", "the address can be copied")
}

// The filter applies while the user types, keeps the focus, and leads from the keyboard to the row.
func TestFilter(t *testing.T) {
	url := serve(t, named(fleet(300)))
	b := newTab(t)
	b.open(url)
	b.do(chromedp.KeyEvent("/"))
	b.until("document.activeElement.id === 'ends-q'")
	b.do(chromedp.KeyEvent("device-02"))
	b.until("document.querySelector('#ends-range').textContent.startsWith('1–50 of 100')")
	assert.Equal(t, "ends-q", evaluate[string](b, "document.activeElement.id"))
	b.do(chromedp.KeyEvent("42"))
	b.until("document.querySelectorAll('#ends-rows tr').length === 1")
	assert.Equal(t, "device-0242", b.texts("#ends-rows td:first-child")[0])
	assert.Equal(t, "device-0242", evaluate[string](b, "document.activeElement.value"), "what was typed is kept")

	b.open(url)
	b.do(chromedp.Evaluate[chromedp.Void](`{
		const select = document.getElementById("ends-only");
		select.value = "interrupted";
		select.dispatchEvent(new Event("input", { bubbles: true }));
	}`))
	b.until("[...document.querySelectorAll('#ends-rows .tone')].length > 0 && [...document.querySelectorAll('#ends-rows td.state')].every((e) => e.textContent === 'interrupted')")
	b.open(url + "?ends.q=nothing-of-that")
	assert.Equal(t, []string{"No row matches."}, b.texts("#ends-rows td"))
}

// From an End the user gets to its streams and calls.
func TestFollowEnd(t *testing.T) {
	url := serve(t, named(fleet(20)))
	b := newTab(t)
	b.open(url + "?ends.sort=streams&ends.desc=1")
	name := b.texts("#ends-rows td:first-child")[0]
	b.follow("#ends-rows td:first-child a")
	assert.Equal(t, name, b.texts("h1 bdi")[0])
	assert.Contains(t, b.texts("#streams-rows td.state"), "write blocked")
	b.do(chromedp.Click(chromedp.CSS("#streams th a[href*='sort=blocked']")))
	b.until("document.querySelector('#streams-rows td.state').textContent === 'write blocked'")
	b.follow(".path a")
	assert.Equal(t, "Ends", b.texts("h1 bdi")[0])
}

// Nothing that a peer chooses becomes markup or script, at the first load and when the page refreshes.
func TestInjection(t *testing.T) {
	all := fleet(1)
	e := all[0].(*fakeEnd)
	h := named(all)
	h.ShowMeta = true
	url := serve(t, h)
	b := newTab(t)
	for i, text := range []string{
		`<script>window.broken = 1</script>`, `<img src=x onerror="window.broken = 1">`,
		`"><svg onload="window.broken = 1">`, `' autofocus onfocus='window.broken = 1`,
		`</bdi></td></tr></table><iframe srcdoc="<script>parent.broken = 1</script>">`,
		`<style>body { display: none }</style>`, `<base href="http://127.0.0.1:1/">`, `javascript:window.broken = 1`,
		`<form id=main><input id=time>`, "\u202e\u2066reversed\x1b[2J",
	} {
		e.name = text
		e.snap.Meta, e.snap.LastInterruption = []byte(text), errors.New(text)
		e.calls = []geminio.CallSnapshot{{Method: text, StreamID: 1, Begin: e.snap.Begin}}
		e.snap.OutgoingCalls.InFlight = 1
		e.streams = []geminio.Stream{fakeStream{snap: geminio.StreamSnapshot{StreamID: 3, Peer: text, Meta: []byte(text)}}}
		// At first the pages are loaded, then they are refreshed.
		for round := range 2 {
			b.open(url)
			end := evaluate[string](b, "document.querySelector('#ends-rows a').href")
			for _, page := range []string{url, url + "streams", url + "calls", end} {
				what := fmt.Sprintf("text %d, round %d, %s", i, round, page)
				b.open(page)
				if round == 1 {
					b.do(chromedp.Evaluate[chromedp.Void]("document.getElementById('time').textContent = 'before'"), chromedp.KeyEvent("r"))
					b.until("document.getElementById('time').textContent !== 'before'")
				}
				assert.False(t, evaluate[bool](b, "'broken' in window"), what)
				assert.Equal(t, 1, evaluate[int](b, "document.querySelectorAll('script').length"), what)
				assert.Zero(t, evaluate[int](b, "document.querySelectorAll('main :is(img, svg, iframe, style, base, [onload], [onfocus], [onerror])').length"), what)
				assert.Equal(t, "MAIN", evaluate[string](b, "document.getElementById('main').nodeName"), what)
				if text[0] == '<' {
					assert.Contains(t, strings.Join(b.texts("main"), ""), text, what)
				}
				assert.NotRegexp(t, "[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", evaluate[string](b, "document.body.textContent"), what)
			}
		}
	}
}

// The policy of the pages holds in the browser, and refuses nothing that the pages need.
func TestPolicy(t *testing.T) {
	url := serve(t, named(fleet(3)))
	b := newTab(t)
	var refused []string
	b.do(chromedp.Evaluate[chromedp.Void]("0"))
	b.open(url)
	b.do(chromedp.Evaluate[chromedp.Void](`
		window.refused = [];
		document.addEventListener("securitypolicyviolation", (e) => window.refused.push(e.effectiveDirective));
		document.getElementById("time").textContent = "before"`), chromedp.KeyEvent("r"))
	b.until("document.getElementById('time').textContent !== 'before'")
	refused = evaluate[[]string](b, "window.refused")
	assert.Empty(t, refused, "the page itself")
	assert.NotEqual(t, "rgba(0, 0, 0, 0)", evaluate[string](b, "getComputedStyle(document.body).backgroundColor"), "the style sheet applies")
	b.do(chromedp.Evaluate[chromedp.Void](`{
		const s = document.createElement("script");
		try { s.text = "window.broken = 1"; document.body.append(s); } catch (e) {}
		try { document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.broken = 1'>"); } catch (e) { window.thrown = e.name; }
	}`))
	assert.False(t, evaluate[bool](b, "'broken' in window"))
	assert.Equal(t, "TypeError", evaluate[string](b, "window.thrown"), "texts cannot become markup")
}
