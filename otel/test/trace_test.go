package test

import (
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	global "go.opentelemetry.io/otel"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/otel"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// link is a span of a trace: the service that has made it, its name and its kind.
type link struct {
	service, name string
	kind          trace.Span_SpanKind
}

// chain are the spans of a request, each the child of the one before. The message is a child of the
// fifth.
var chain = []link{
	{"gateway", "GET /measure", trace.Span_SPAN_KIND_SERVER},
	{"gateway", "forward", trace.Span_SPAN_KIND_CLIENT},
	{"hub", "forward", trace.Span_SPAN_KIND_SERVER},
	{"hub", "measure", trace.Span_SPAN_KIND_CLIENT},
	{"device", "measure", trace.Span_SPAN_KIND_SERVER},
	{"device", "publish", trace.Span_SPAN_KIND_PRODUCER},
	{"hub", "process", trace.Span_SPAN_KIND_CONSUMER},
}

// One trace goes from an HTTP request through a gateway and a hub to a device, and back to the hub by
// a message: three processes and two connections. It is complete if the connections break while the
// device works, and the sessions are resumed.
func TestThreeProcesses(t *testing.T) {
	c := newCollector(t)
	var toHub, toDevice *kit.Proxy
	var cuts atomic.Int64
	control := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cuts.Add(int64(toHub.Cut() + toDevice.Cut()))
	}))
	defer control.Close()
	hub := start(t, "hub", "", "", c.url)
	toHub, toDevice = kit.NewProxy(t, hub.addr), kit.NewProxy(t, hub.addr)
	device := start(t, "device", toDevice.Addr, control.URL, c.url)
	gateway := start(t, "gateway", toHub.Addr, "", c.url)

	traces := map[string]string{ // the trace of each request
		"whole": "0af7651916cd43dd8448eb211c80319c",
		"cut":   "1bf7651916cd43dd8448eb211c80319c",
	}
	const root = "b7ad6b7169203331" // the span of the HTTP client
	for how, id := range traces {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+gateway.addr+"/measure?how="+how, nil)
		require.NoError(t, err)
		req.Header.Set("traceparent", "00-"+id+"-"+root+"-01")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, "42", string(body), how)
	}
	require.EqualValues(t, 2, cuts.Load(), "broken connections")
	http.DefaultClient.CloseIdleConnections()
	for _, p := range []*process{gateway, device, hub} {
		p.stop(t)
	}

	for how, id := range traces {
		var got []span
		for _, s := range c.spans {
			if hex.EncodeToString(s.TraceId) == id {
				got = append(got, s)
			}
		}
		assert.Len(t, got, len(chain), "the spans of the request %s", how)
		parent := root
		for _, want := range chain {
			s := find(got, want)
			if !assert.NotNil(t, s, "%s: %v", how, want) {
				break
			}
			assert.Equal(t, parent, hex.EncodeToString(s.ParentSpanId), "%s: the parent of %v", how, want)
			assert.Equal(t, trace.Status_STATUS_CODE_UNSET, s.GetStatus().GetCode(), "%s: %v", how, want)
			if want.name == "process" {
				require.Len(t, s.Links, 1)
				assert.Equal(t, parent, hex.EncodeToString(s.Links[0].SpanId), how)
			}
			parent = hex.EncodeToString(s.SpanId)
		}
	}
	for _, name := range []string{
		"gateway/rpc.client.call.duration", "hub/rpc.server.call.duration", "hub/rpc.client.call.duration",
		"device/rpc.server.call.duration", "device/messaging.client.sent.messages", "hub/messaging.process.duration",
	} {
		assert.True(t, c.metrics[name], name)
	}
}

// find returns the span of a link, or nil.
func find(all []span, l link) *span {
	for i, s := range all {
		if s.service == l.service && s.Name == l.name && s.Kind == l.kind {
			return &all[i]
		}
	}
	return nil
}

// Text of a peer that is not UTF-8 does not keep the exporter from sending the spans.
func TestTextThatIsNotUTF8(t *testing.T) {
	c := newCollector(t)
	former := global.GetTracerProvider()
	stop, err := exportTo(c.url, "test")
	require.NoError(t, err)
	defer global.SetTracerProvider(former)
	so, co := server.NewEndOptions(), client.NewEndOptions()
	otel.Instrument(so, nil)
	otel.Instrument(co, nil)
	so.SetHijack(func(_ context.Context, _ string, req geminio.Request, resp geminio.Response) {
		resp.SetError(badText(req.Data()))
	})
	end, far := geminiotest.Pair(t, &geminiotest.PairOptions{Client: co, Server: so})
	_, err = end.Call(t.Context(), "\xff", end.NewRequest([]byte("\xfe")))
	require.Error(t, err)
	m := end.NewMessage(nil)
	m.SetTopic("\xfd")
	done, err := end.PublishAsync(t.Context(), m, nil)
	require.NoError(t, err)
	received, err := far.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, received.Error(badText("\xfc")))
	require.Error(t, (<-done.Done).Error)
	require.NoError(t, stop())
	assert.Len(t, c.spans, 4)
}

// badText is an error with a text.
type badText string

func (e badText) Error() string { return string(e) }
