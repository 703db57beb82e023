package inspect

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/test/leak"
)

var pictures = flag.String("pictures", "", "write the pictures of the documentation into `DIR`")

// browsers are the names under which Chromium is looked for.
var browsers = []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"}

// chromium is the path of the browser.
var chromium string

func TestMain(m *testing.M) {
	flag.Parse()
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		os.Stderr.WriteString("these tests need Chromium: none of " + strings.Join(browsers, ", ") +
			" is in the path; on Debian: apt-get install chromium\n")
		os.Exit(1)
	}
	os.Exit(leak.Run(m))
}

// tab is a tab of a browser. Its methods fail the test.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// newTab starts a browser with an empty tab. It is closed with the test.
func newTab(t *testing.T) *tab {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.WindowSize(1440, 900))
	ctx, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return &tab{t, ctx}
}

// do runs actions.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, actions...))
}

// evaluate returns the value of an expression of JavaScript.
func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return v
}

// colours sets whether the user prefers light or dark colours.
func (b *tab) colours(scheme string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
}

// picture returns a PNG of the visible part of the page.
func (b *tab) picture() []byte {
	b.t.Helper()
	r, err := chromedp.Run(b.ctx, func(ctx context.Context, t *chromedp.Target) (page.CaptureScreenshotResult, error) {
		return cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{})
	})
	require.NoError(b.t, err)
	return r.Data
}

// serve serves a handler at the path of the inspector, and returns the URL of the pages.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/debug/geminio/", h)
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	return site.URL + "/debug/geminio/"
}

// forever bounds the waits of tests for what must happen, on a machine that is busy.
const forever = 2 * time.Minute

// open loads a page.
func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

// follow clicks a link that leads to another page, and waits for the page.
func (b *tab) follow(selector string) {
	b.t.Helper()
	_, err := chromedp.Run(b.ctx, chromedp.WaitEvent(page.LoadEventFired, nil, chromedp.Click(chromedp.CSS(selector))))
	require.NoError(b.t, err, selector)
}

// until waits until an expression of JavaScript is true. It looks again whenever the document changes.
func (b *tab) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, forever)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](fmt.Sprintf(`new Promise((done) => {
		const check = () => {
			if (!(%s)) return false;
			observer.disconnect();
			done(true);
			return true;
		};
		const observer = new MutationObserver(check);
		if (check()) return;
		observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
	})`, expression), chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, "%s\nthe page: %s", expression, evaluate[string](b, "document.body.innerText"))
}

// texts returns the texts of all elements that match a selector.
func (b *tab) texts(selector string) []string {
	b.t.Helper()
	return evaluate[[]string](b, fmt.Sprintf("[...document.querySelectorAll(%q)].map((e) => e.textContent.trim())", selector))
}
