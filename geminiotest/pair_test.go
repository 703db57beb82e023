package geminiotest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/rig"
)

// everywhere runs a test in a bubble and outside.
func everywhere(t *testing.T, test func(t *testing.T)) {
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, test) })
	t.Run("no bubble", test)
}

func TestPair(t *testing.T) {
	everywhere(t, func(t *testing.T) {
		client, server := geminiotest.Pair(t)
		assert.Equal(t, geminio.InitiatorSide, client.Side())
		assert.Equal(t, geminio.RecipientSide, server.Side())
		for from, to := range map[geminio.End]geminio.End{client: server, server: client} {
			require.NoError(t, to.Register(t.Context(), "echo", rig.Echo))
			resp, err := from.Call(t.Context(), "echo", from.NewRequest([]byte("hello")))
			require.NoError(t, err)
			require.Equal(t, "hello", string(resp.Data()))

			opener, acceptor := rig.OpenStream(t, from, to)
			_, err = opener.Write([]byte("bytes"))
			require.NoError(t, err)
			rig.Expect(t, acceptor, "bytes")
		}
	})
}

func TestPairIsClosedWithTheTest(t *testing.T) {
	var client, server geminio.End
	t.Run("test", func(t *testing.T) { client, server = geminiotest.Pair(t) })
	for _, end := range []geminio.End{client, server} {
		_, err := end.AcceptStream()
		require.Equal(t, io.EOF, err)
	}
}

// A black hole must not make the end of a test wait for the linger time.
func TestPairIsClosedInABlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		t.Cleanup(func() { require.Zero(t, time.Since(start)) })
		n := geminiotest.NewNetwork(t)
		geminiotest.Pair(t, &geminiotest.PairOptions{Network: n})
		n.SetBlackHole(true)
	})
}

func TestPairOptions(t *testing.T) {
	first, last := client.NewEndOptions(), client.NewEndOptions()
	first.SetMeta([]byte("first"))
	last.SetMeta([]byte("last"))
	so := server.NewEndOptions()
	so.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: rig.Echo})
	n := geminiotest.NewNetwork(t)
	client, server := geminiotest.Pair(t, nil, &geminiotest.PairOptions{Client: first, Server: so},
		&geminiotest.PairOptions{Client: last}, &geminiotest.PairOptions{Network: n})
	assert.Equal(t, "last", string(server.Meta()))
	_, err := client.Call(t.Context(), "echo", client.NewRequest(nil))
	require.NoError(t, err)

	require.Equal(t, 1, n.Cut())
	for _, end := range []geminio.End{client, server} {
		<-geminio.Done(end)
	}
}

// failing is a testing.TB that records its failure and ends the goroutine that fails.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// refusing is a delegate that refuses all clients.
type refusing struct {
	*delegate.UnimplementedDelegate
}

func (refusing) ConnOnline(delegate.ConnDescriber) error { return errors.New("not today") }

func TestPairFailsTheTest(t *testing.T) {
	so := server.NewEndOptions()
	so.SetDelegate(refusing{})
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		geminiotest.Pair(f, &geminiotest.PairOptions{Server: so})
	}()
	<-done
	require.Equal(t, "geminiotest: not today", f.text)
}

// In a bubble, a test of a timeout takes no time, and can require an exact duration.
func TestTimeoutInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := geminiotest.Pair(t)
		require.NoError(t, server.Register(t.Context(), "hang", rig.Hang))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		_, err := client.Call(ctx, "hang", client.NewRequest(nil))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Hour, time.Since(start))
	})
}

func TestExamples(t *testing.T) {
	t.Run("Pair", testGreet)
	t.Run("Network", testHourWithoutNetwork)
}
