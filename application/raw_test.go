package application

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

func TestResetTellsThePeerWhy(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		near, far := openPair(t, client, server)
		require.NoError(t, far.Publish(t.Context(), onceMessage(far)))
		synctest.Wait()
		require.NoError(t, near.Reset(geminio.FirstApplicationCode+7, "no such file"))
		why := &geminio.StreamError{Code: geminio.FirstApplicationCode + 7, Text: "no such file", Remote: true}
		_, err := far.Read(make([]byte, 1))
		assert.Equal(t, why, asStreamError(t, err))
		_, err = far.Write([]byte("x"))
		assert.Equal(t, why, asStreamError(t, err))
		_, err = near.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err, "Read at the side that has reset the stream")
		_, err = near.Receive(t.Context())
		assert.Equal(t, io.EOF, err, "Receive: the message that had come is dropped")
		assert.Equal(t, net.ErrClosed, near.Reset(geminio.FirstApplicationCode, ""), "the second Reset")
		require.NoError(t, client.Publish(t.Context(), onceMessage(client.Stream)), "the connection goes on")
	})
}

func TestResetRefusesCodesOfTheLibrary(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		near, far := openPair(t, client, server)
		for _, code := range []geminio.Code{geminio.CodeOK, geminio.CodeReplaced, geminio.FirstApplicationCode - 1} {
			assert.ErrorContains(t, near.Reset(code, ""), "must not choose the code")
			assert.ErrorContains(t, client.CloseWithError(code, ""), "must not choose the code")
		}
		_, err := near.Write([]byte("x"))
		require.NoError(t, err, "the stream is still open")
		_, err = far.Read(make([]byte, 1))
		require.NoError(t, err)
	})
}

func TestCloseWithErrorTellsThePeerWhy(t *testing.T) {
	for name, end := range map[string]func(*End) error{
		"CloseWithError": func(e *End) error {
			return e.CloseWithError(geminio.FirstApplicationCode+7, strings.Repeat("x", 600))
		},
		"Reset": func(e *End) error { return e.Reset(geminio.FirstApplicationCode+7, strings.Repeat("x", 600)) },
	} {
		t.Run(name, func(t *testing.T) {
			withPair(t, nil, nil, func(t *testing.T, client, server *End) {
				require.NoError(t, end(client))
				<-client.Done()
				<-server.Done()
				assert.Equal(t, io.EOF, client.Cause())
				var why *geminio.RemoteError
				require.ErrorAs(t, server.Cause(), &why)
				assert.Equal(t, geminio.FirstApplicationCode+7, why.Code)
				assert.Len(t, why.Text, 512)
				require.NoError(t, client.CloseWithError(geminio.FirstApplicationCode, ""), "closing again")
			})
		})
	}
}

func asStreamError(t *testing.T, err error) *geminio.StreamError {
	t.Helper()
	var why *geminio.StreamError
	require.ErrorAs(t, err, &why)
	return why
}

// onceMessage makes a message that is sent at most once.
func onceMessage(s *Stream) geminio.Message {
	opt := options.NewMessage()
	opt.SetCnss(options.CnssAtMostOnce)
	return s.NewMessage(nil, opt)
}
