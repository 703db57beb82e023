package geminio

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/options"
)

// plain is an End and nothing else.
type plain struct{ End }

// full is an End with all optional methods. Each returns an error with its own name and
// arguments.
type full struct {
	End
	done chan struct{}
}

func (full) Shutdown(ctx context.Context) error {
	return errors.Join(errors.New("Shutdown"), ctx.Err())
}
func (full) OpenStreamContext(ctx context.Context, opts ...*options.OpenStreamOptions) (Stream, error) {
	return nil, errors.Join(errors.New("OpenStreamContext to "+*opts[0].Peer), ctx.Err())
}
func (full) CloseWrite() error                     { return errors.New("CloseWrite") }
func (full) CloseRead() error                      { return errors.New("CloseRead") }
func (full) Reset(code Code, text string) error    { return &StreamError{Code: code, Text: text} }
func (full) Cause() error                          { return errors.New("Cause") }
func (f full) Done() <-chan struct{}               { return f.done }
func (full) CloseWithError(c Code, t string) error { return &RemoteError{Code: c, Text: t} }

func TestOptionalMethods(t *testing.T) {
	e := full{done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.EqualError(t, Shutdown(ctx, e), "Shutdown\ncontext canceled")
	opt := options.OpenStream()
	opt.SetPeer("peer")
	_, err := OpenStreamContext(ctx, e, opt)
	assert.EqualError(t, err, "OpenStreamContext to peer\ncontext canceled")
	assert.EqualError(t, CloseWrite(e), "CloseWrite")
	assert.EqualError(t, CloseRead(e), "CloseRead")
	assert.Equal(t, &StreamError{Code: 1001, Text: "text"}, Reset(e, 1001, "text"))
	assert.Equal(t, &RemoteError{Code: 1001, Text: "text"}, CloseWithError(e, 1001, "text"))
	assert.EqualError(t, Cause(e), "Cause")
	assert.Equal(t, (<-chan struct{})(e.done), Done(e))
}

func TestOptionalMethodsThatAValueDoesNotHave(t *testing.T) {
	e := plain{}
	_, openErr := OpenStreamContext(t.Context(), e)
	for name, err := range map[string]error{
		"OpenStreamContext": openErr,
		"Shutdown":          Shutdown(t.Context(), e),
		"CloseWrite":        CloseWrite(e),
		"CloseRead":         CloseRead(e),
		"Reset":             Reset(e, 1001, ""),
		"CloseWithError":    CloseWithError(e, 1001, ""),
	} {
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.EqualError(t, err, "the value has no method "+name)
	}
	assert.NoError(t, Cause(e))
	assert.Nil(t, Done(e))
}
