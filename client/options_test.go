package client

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
)

// A meta that does not fit into the handshake is an error at once, and not a failure after
// which a RetryEnd tries again.
func TestMetaThatIsTooLarge(t *testing.T) {
	dialer := func() (net.Conn, error) {
		t.Error("it dials")
		return nil, errShut
	}
	opt := NewEndOptions()
	opt.SetMeta(make([]byte, 49<<10))
	opt.SetRetryFirst(context.Background())
	for _, make := range []func(Dialer, ...*EndOptions) (geminio.End, error){NewEndWithDialer, NewRetryEndWithDialer} {
		end, err := make(dialer, opt)
		assert.Nil(t, end)
		assert.ErrorIs(t, err, geminio.ErrTooLarge)
		assert.ErrorContains(t, err, "Meta of 50176 bytes")
	}
}
