package api

import (
	"net"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/server"
)

// methodsOf returns the names of the methods of an interface type.
func methodsOf[I any]() []string { return methodNames(reflect.TypeFor[I]()) }

func methodNames(t reflect.Type) []string {
	names := make([]string, t.NumMethod())
	for i := range names {
		names[i] = t.Method(i).Name
	}
	return names
}

// TestMethodSets lists the methods of the values that users hold: those of their
// interface, those of the optional interfaces of package geminio, and those named here.
func TestMethodSets(t *testing.T) {
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	address := l.Addr().String()
	clientEnd, err := client.NewEnd("tcp", address)
	require.NoError(t, err)
	defer clientEnd.Close()
	serverEnd, err := l.AcceptEnd()
	require.NoError(t, err)
	defer serverEnd.Close()
	retry, err := client.NewRetryEndWithDialer(func() (net.Conn, error) { return net.Dial("tcp", address) })
	require.NoError(t, err)
	defer retry.Close()
	opened := func(e geminio.End) geminio.Stream {
		s, err := e.OpenStream()
		require.NoError(t, err)
		return s
	}
	clientStream, retryStream := opened(clientEnd), opened(retry)
	serverStream, err := serverEnd.AcceptStream()
	require.NoError(t, err)

	stream := slices.Concat(methodsOf[geminio.Stream](), methodsOf[geminio.HalfCloser](), methodsOf[geminio.Resetter](),
		methodsOf[geminio.EndOwned](), methodsOf[metadata.Carrier](), methodsOf[geminio.StreamSnapshotter]())
	end := slices.Concat(methodsOf[geminio.End](), methodsOf[geminio.HalfCloser](), methodsOf[geminio.Resetter](),
		methodsOf[geminio.EndOwned](), methodsOf[geminio.ErrorCloser](), methodsOf[geminio.Shutdowner](), methodsOf[geminio.StreamOpener](), methodsOf[geminio.Causer](), methodsOf[geminio.Doner](), methodsOf[metadata.Carrier](),
		methodsOf[geminio.StreamSnapshotter](), methodsOf[geminio.Snapshotter](), methodsOf[geminio.CallLister](), methodsOf[geminio.Pinger]())
	copies := []string{"ReadFrom", "WriteTo"} // io.ReaderFrom and io.WriterTo, for io.Copy
	for name, c := range map[string]struct {
		value any
		want  []string
	}{
		"client End":    {clientEnd, slices.Concat(end, copies)},
		"server End":    {serverEnd, slices.Concat(end, copies, []string{"Replace", "SetSessionFunc"})},
		"RetryEnd":      {retry, slices.Concat(end, []string{"Stats"})},
		"client stream": {clientStream, slices.Concat(stream, copies)},
		"server stream": {serverStream, slices.Concat(stream, copies)},
		"retry stream":  {retryStream, slices.Concat(stream, copies)},
		"listener":      {l, slices.Concat(methodsOf[server.Listener](), methodsOf[geminio.Shutdowner](), methodsOf[server.ResumeStatser](), []string{"Serve", "Ends", "End"})},
	} {
		slices.Sort(c.want)
		assert.Equal(t, slices.Compact(c.want), methodNames(reflect.TypeOf(c.value)), name)
	}
}
