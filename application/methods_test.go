package application

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// noRPC is a method that does nothing.
func noRPC(context.Context, geminio.Request, geminio.Response) {}

// answering returns a method whose response is a text.
func answering(text string) geminio.RPC {
	return func(_ context.Context, _ geminio.Request, resp geminio.Response) { resp.SetData([]byte(text)) }
}

// answerOf calls a method and returns the text of the response.
func answerOf(t *testing.T, e *End, method string) string {
	t.Helper()
	resp, err := e.Call(t.Context(), method, e.NewRequest(nil))
	require.NoError(t, err)
	return string(resp.Data())
}

func TestMethods(t *testing.T) {
	var m Methods
	assert.Empty(t, m.All())
	assert.False(t, m.Has("b"))
	set := func(name string) bool {
		added, err := m.set(name, noRPC)
		require.NoError(t, err)
		return added
	}
	assert.True(t, set("b"), "a new method")
	assert.True(t, set("a"), "a new method")
	assert.False(t, set("b"), "a method that is replaced")
	assert.True(t, m.Has("b"))
	assert.Equal(t, []string{"b", "a"}, m.All(), "in the order of registration")
	name, rpc, hijack, registered := m.find([]byte("a"))
	assert.Equal(t, "a", name)
	assert.NotNil(t, rpc)
	assert.Nil(t, hijack)
	assert.True(t, registered)
	m.Remove("b")
	m.Remove("unknown")
	assert.Equal(t, []string{"a"}, m.All())
	name, rpc, _, registered = m.find([]byte("b"))
	assert.Equal(t, "b", name)
	assert.Nil(t, rpc, "after Remove")
	assert.False(t, registered, "after Remove")
}

func TestHijack(t *testing.T) {
	for _, test := range []struct {
		name    string
		set     bool
		match   bool
		pattern string
		want    map[string]bool // whether the hijack handles a method
	}{
		{"every method", false, false, "", map[string]bool{"a": true, "ab": true, "c": true}},
		{"those that match", true, true, "^a", map[string]bool{"a": true, "ab": true, "c": false}},
		{"those that do not match", true, false, "^a", map[string]bool{"a": false, "ab": false, "c": true}},
		{"a match in the middle", true, true, "b", map[string]bool{"a": false, "ab": true, "c": false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var m Methods
			m.set("a", noRPC)
			opt := options.Hijack()
			if test.set {
				opt.SetMatch(test.match, test.pattern)
			}
			require.NoError(t, m.Hijack(func(context.Context, string, geminio.Request, geminio.Response) {}, opt))
			for method, want := range test.want {
				_, rpc, hijack, registered := m.find([]byte(method))
				assert.Equal(t, want, hijack != nil, "the hijack of %q", method)
				assert.Equal(t, !want && method == "a", rpc != nil, "the RPC of %q", method)
				assert.Equal(t, method == "a", registered, "%q is registered", method)
			}
		})
	}
	var m Methods
	opt := options.Hijack()
	opt.SetMatch(true, "(")
	assert.ErrorContains(t, m.Hijack(nil, opt), "hijack: ")
}

func TestHijackReplacesTheOneBefore(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		register(t, server, "a", answering("the RPC"))
		hijack := func(text string) geminio.HijackRPC {
			return func(_ context.Context, method string, _ geminio.Request, resp geminio.Response) {
				resp.SetData([]byte(text + " of " + method))
			}
		}
		opt := options.Hijack()
		opt.SetMatch(true, "^b")
		require.NoError(t, server.Hijack(hijack("the first hijack"), opt))
		assert.Equal(t, "the RPC", answerOf(t, client, "a"))
		assert.Equal(t, "the first hijack of b", answerOf(t, client, "b"))
		require.NoError(t, server.Hijack(hijack("the second hijack")))
		assert.Equal(t, "the second hijack of a", answerOf(t, client, "a"))
		assert.Equal(t, "the second hijack of b", answerOf(t, client, "b"))
	})
}

func TestRegisterRefusesItsArguments(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		var none context.Context
		assert.ErrorContains(t, client.Register(none, "m", noRPC), "nil")
		assert.ErrorContains(t, client.Register(t.Context(), "m", nil), "nil")
		long := strings.Repeat("x", MaxMethodName)
		assert.NoError(t, client.Register(t.Context(), long, noRPC))
		var limit *geminio.LimitError
		require.ErrorAs(t, client.Register(t.Context(), long+"x", noRPC), &limit)
		assert.EqualValues(t, MaxMethodName+1, limit.Value)
		client.Close()
		assert.Equal(t, io.EOF, client.Register(t.Context(), "m", noRPC), "after Close")
	})
}

func TestRegisterReplaces(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		register(t, server, "m", answering("first"))
		register(t, server, "m", answering("second"))
		assert.Equal(t, "second", answerOf(t, client, "m"))
	})
}

// TestTooManyMethods registers one method more than a peer may.
func TestTooManyMethods(t *testing.T) {
	cfg := endConfig()
	for i := range MaxRemoteMethods {
		cfg.LocalMethods = append(cfg.LocalMethods, &geminio.MethodRPC{Method: fmt.Sprint(i), RPC: noRPC})
	}
	synctest.Test(t, func(t *testing.T) {
		client, server := startPair(t, cfg, endConfig())
		defer server.Close()
		defer client.Close()
		require.NoError(t, (*Control)(client).ExchangeMethods(t.Context()))
		err := client.Register(t.Context(), "one more", noRPC)
		var refused *geminio.RemoteError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, geminio.CodeLimit, refused.Code)
		assert.False(t, client.methods().served.Has("one more"), "a refused method is not served")
	})
}

func TestConstructorWaitsForTheMethodsOfThePeer(t *testing.T) {
	clientCfg, serverCfg := endConfig(), endConfig()
	clientCfg.RemoteMethods = []string{"a", "b"}
	serverCfg.LocalMethods = []*geminio.MethodRPC{nil, {Method: "b", RPC: answering("b")}, {Method: "a", RPC: answering("a")}}
	synctest.Test(t, func(t *testing.T) {
		client, server := startPair(t, clientCfg, serverCfg)
		defer server.Close()
		defer client.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := (*Control)(client).ExchangeMethods(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded, "the server has registered nothing")
		assert.ErrorContains(t, err, `waiting for the peer to register "a"`)

		result := make(chan error, 1)
		go func() { result <- (*Control)(client).ExchangeMethods(t.Context()) }()
		synctest.Wait()
		require.NoError(t, (*Control)(server).ExchangeMethods(t.Context()))
		require.NoError(t, <-result)
		assert.Equal(t, "a", answerOf(t, client, "a"))
		assert.True(t, client.methods().knows("b"))
		assert.False(t, client.methods().knows("c"))
	})
}

// TestPreviousMethodsCountForAWhile has two connections of one Methods.
func TestPreviousMethodsCountForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Methods
		first := m.connect(true)
		assert.True(t, first.addRemote("old"), "a new method")
		assert.False(t, first.addRemote("old"), "a method that is known")
		second := m.connect(true)
		assert.True(t, second.knows("old"), "before the first registration")
		time.Sleep(time.Hour)
		assert.True(t, second.knows("old"), "still before the first registration")
		second.addRemote("new")
		time.Sleep(registrationTime - 1)
		assert.True(t, second.knows("old"), "within the time for registrations")
		third := m.connect(true)
		assert.True(t, third.knows("old"), "of a connection that has ended within that time")
		assert.True(t, third.knows("new"))
		third.addRemote("newest")
		time.Sleep(registrationTime)
		assert.False(t, third.knows("old"), "after the time for registrations")
		assert.True(t, third.knows("newest"))
		assert.False(t, m.connect(false).knows("newest"), "without the check")
	})
}
