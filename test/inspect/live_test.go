package inspect

import (
	"context"
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/inspect"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// connect returns a server with one client, and the client's End.
func connect(t *testing.T) (*server.Server, geminio.End) {
	t.Helper()
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	end, err := client.NewEnd("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { end.Close() })
	_, err = l.AcceptEnd()
	require.NoError(t, err)
	return l.(*server.Server), end
}

// age is the expression for the age, in seconds, that the first row of the table of calls shows.
const age = `(document.querySelector("#calls-rows td.age")?.textContent.match(/^([0-9.]+) s$/)?.[1] ?? 0)`

// A hanging call grows old on a page that nobody touches, and its row goes when it ends.
func TestHangingCall(t *testing.T) {
	srv, end := connect(t)
	release := make(chan struct{})
	for e := range srv.Ends() {
		require.NoError(t, e.Register(t.Context(), "hang", func(context.Context, geminio.Request, geminio.Response) { <-release }))
	}
	called := kit.Start(func() error {
		_, err := end.Call(context.Background(), "hang", end.NewRequest(nil))
		return err
	})
	url := serve(t, &inspect.Handler{Sources: []inspect.Source{srv, inspect.Of(end)}})
	b := newTab(t)
	b.open(url + "calls")
	b.until("document.querySelectorAll('#calls-rows tr:not(.none)').length === 2") // both sides
	assert.ElementsMatch(t, []string{"incoming", "outgoing"}, b.texts("#calls-rows td.short"))
	assert.Equal(t, []string{"hang", "hang"}, b.texts("#calls-rows td.text"))
	rows := evaluate[[]string](b, "[...document.querySelectorAll('#calls-rows tr')].map((e) => e.id)")
	b.until(age + " >= 1")
	first := evaluate[float64](b, "Number("+age+")")
	b.until(fmt.Sprintf("%s >= %f", age, first+2))
	assert.Equal(t, rows, evaluate[[]string](b, "[...document.querySelectorAll('#calls-rows tr')].map((e) => e.id)"), "the same rows")

	close(release)
	require.NoError(t, kit.Await(t, forever, "the call", called))
	b.until("document.querySelectorAll('#calls-rows tr.none').length === 1")
}

// A stream that nobody reads shows as blocked at the writer, and as not read at the reader.
func TestStuckStream(t *testing.T) {
	srv, end := connect(t)
	stream, err := end.OpenStream()
	require.NoError(t, err)
	written := kit.Start(func() error {
		_, err := stream.Write(make([]byte, 64<<20))
		return err
	})
	url := serve(t, &inspect.Handler{Sources: []inspect.Source{srv, inspect.Of(end)}})
	b := newTab(t)
	b.open(url + "streams?streams.only=stuck&streams.sort=state")
	states := "[...document.querySelectorAll('#streams-rows td.state')].map((e) => e.textContent).join()"
	b.until(states + " === 'not read,write blocked'")
	stream.Close()
	require.Error(t, kit.Await(t, forever, "the Write", written))
	b.until("document.querySelectorAll('#streams-rows tr.none').length === 1")
}

// The page of an End that has ended says so, and keeps the last figures.
func TestEndHasEnded(t *testing.T) {
	srv, end := connect(t)
	url := serve(t, &inspect.Handler{Sources: []inspect.Source{srv}})
	b := newTab(t)
	b.open(url)
	b.follow("#ends-rows a")
	id := fmt.Sprintf("client %d", end.ClientID())
	assert.Equal(t, id, b.texts("h1 bdi")[0])
	require.NoError(t, end.Close())
	b.until("document.getElementById('notice').textContent.includes('has ended')")
	assert.Equal(t, id, b.texts("h1 bdi")[0])
	b.open(url)
	b.until("document.querySelector('#ends-rows .none') !== null")
}

// A page that is paused stays as it is, also after a visit to another page, until it is resumed.
func TestPause(t *testing.T) {
	srv, end := connect(t)
	url := serve(t, &inspect.Handler{Sources: []inspect.Source{srv}})
	b := newTab(t)
	b.open(url)
	b.do(chromedp.Click(chromedp.ID("pause")))
	b.follow("nav a[href=streams]")
	b.follow("nav a[href='./']")
	assert.Equal(t, "true", evaluate[string](b, "document.getElementById('pause').ariaPressed"))
	require.NoError(t, end.Close())
	for range srv.Ends() { // until the server knows
		<-geminio.Done(end)
	}
	require.Len(t, b.texts("#ends-rows td.id"), 1)
	b.do(chromedp.KeyEvent("p"))
	b.until("document.querySelector('#ends-rows .none') !== null")
}
