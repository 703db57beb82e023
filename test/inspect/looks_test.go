package inspect

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refreshed refreshes the page.
func (b *tab) refreshed() {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void]("document.getElementById('time').textContent = 'before'"), chromedp.KeyEvent("r"))
	b.until("document.getElementById('time').textContent !== 'before'")
}

// A refresh moves nothing: the places of all columns and rows stay, and so do the focus and the scroll
// position.
func TestRefreshMovesNothing(t *testing.T) {
	all := fleet(60)
	url := serve(t, named(all))
	b := newTab(t)
	for _, page := range []string{"", "streams", "calls"} {
		b.open(url + page)
		b.do(chromedp.Click(chromedp.ID("pause")))
		places := `JSON.stringify([...document.querySelectorAll("th, tr, header *, .bar *")].map((e) => {
			const r = e.getBoundingClientRect();
			return [r.x, r.y, r.width, r.height];
		}))`
		b.do(chromedp.Evaluate[chromedp.Void](`
			document.querySelector("tbody tr:nth-child(9) a").focus();
			document.querySelector(".scroll").scrollLeft = 120;
			scrollTo(0, 300)`))
		before := evaluate[string](b, places)
		focused := evaluate[string](b, "document.activeElement.href")
		for _, end := range all { // figures of other lengths
			s := &end.(*fakeEnd).snap
			s.Sent.Bytes = s.Sent.Bytes*1000 + 7
			s.RoundTrip = s.RoundTrip*137 + 1
			s.BudgetUsed += 1 << 27
		}
		b.refreshed()
		assert.Equal(t, before, evaluate[string](b, places), page)
		assert.Equal(t, focused, evaluate[string](b, "document.activeElement.href"), page)
		assert.Equal(t, 300.0, evaluate[float64](b, "scrollY"), page)
		b.do(chromedp.Click(chromedp.ID("pause")))
	}
}

// All texts have a contrast of at least 4.5 to their background, in light and in dark colours, as
// WCAG 2 asks for (level AA).
func TestContrast(t *testing.T) {
	h := named(fleet(40))
	h.Cluster = gateways(40)
	url := serve(t, h)
	b := newTab(t)
	b.open(url + "?ends.sort=streams&ends.desc=1")
	end := evaluate[string](b, "document.querySelector('#ends-rows a').href")
	for _, scheme := range []string{"light", "dark"} {
		b.colours(scheme)
		for _, page := range []string{url, url + "calls", end, url + "cluster", url + "clients"} {
			b.open(page)
			poor := evaluate[[]string](b, `(() => {
				const parse = (s) => s.match(/[\d.]+/g).map(Number);
				const light = ([r, g, b]) => {
					const [x, y, z] = [r, g, b].map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
					return 0.2126 * x + 0.7152 * y + 0.0722 * z;
				};
				const behind = (e) => {
					for (; e; e = e.parentElement) {
						const c = parse(getComputedStyle(e).backgroundColor);
						if (c.length === 3 || c[3] > 0) return c;
					}
				};
				const poor = new Set();
				for (const e of document.querySelectorAll("body *")) {
					if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest(".pages span")) continue;
					const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
					const ratio = (a + 0.05) / (b + 0.05);
					if (ratio < 4.5) poor.add(e.nodeName + "." + e.className + " " + e.textContent.trim().slice(0, 20) + " " + ratio.toFixed(2));
				}
				return [...poor];
			})()`)
			assert.Empty(t, poor, "%s, %s", page, scheme)
		}
	}
}

// In a narrow window the page does not scroll sideways; the tables do. The first column stays in view.
func TestNarrowWindow(t *testing.T) {
	h := named(fleet(40))
	h.Cluster = gateways(40)
	url := serve(t, h)
	b := newTab(t)
	b.open(url)
	end := evaluate[string](b, "document.querySelector('#ends-rows a').href")
	for _, width := range []int64{320, 390, 700, 1024} {
		b.do(chromedp.EmulateViewport(width, 800))
		for _, page := range []string{url, url + "streams", url + "calls", end, url + "cluster", url + "clients"} {
			b.open(page)
			what := fmt.Sprintf("%s, %d pixels", page, width)
			assert.LessOrEqual(t, evaluate[float64](b, "document.documentElement.scrollWidth"), float64(width), what)
			b.do(chromedp.Evaluate[chromedp.Void]("document.querySelectorAll('.scroll').forEach((e) => e.scrollLeft = 200)"))
			if width < 700 {
				assert.GreaterOrEqual(t, evaluate[float64](b, "document.querySelector('tr:not(.none) td:first-child').getBoundingClientRect().x"), 0.0, what)
			}
		}
	}
}

// Everything can be reached by the keyboard, in the order of the page, and can be seen there.
func TestKeyboard(t *testing.T) {
	url := serve(t, named(fleet(3)))
	b := newTab(t)
	b.open(url)
	b.do(chromedp.Evaluate[chromedp.Void]("document.body.focus()"))
	want := evaluate[int](b, `[...document.querySelectorAll("a, button, input, select, [tabindex='0']")].filter((e) => e.checkVisibility() && e.type !== "hidden").length`)
	require.Greater(t, want, 20)
	seen := make(map[string]bool)
	for range want {
		b.do(chromedp.KeyEvent("\t"))
		seen[evaluate[string](b, "document.activeElement.outerHTML + document.activeElement.getBoundingClientRect().y")] = true
		style := evaluate[string](b, "getComputedStyle(document.activeElement).outlineStyle")
		assert.NotEqual(t, "none", style, evaluate[string](b, "document.activeElement.outerHTML"))
	}
	assert.Len(t, seen, want)
}
