package conn

import (
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// The handshake registers methods if both sides support it.
func TestHandshakeMethods(t *testing.T) {
	for _, test := range []struct {
		name                 string
		clients, servers     []string // nil: not supported
		wantClient, wantPeer []string
	}{
		{"both", []string{"a"}, []string{"b", "c"}, []string{"a"}, []string{"b", "c"}},
		{"none", []string{}, []string{}, []string{}, []string{}},
		{"client does not support it", nil, []string{"b"}, nil, nil},
		{"server does not support it", []string{"a"}, nil, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer near.Close()
				defer far.Close()
				cfg := func(methods []string) *Config {
					cfg := testConfig()
					if methods != nil {
						cfg.Methods = func() []string { return methods }
					}
					return cfg
				}
				server, client := shake(geminio.RecipientSide, near, cfg(test.servers)), shake(geminio.InitiatorSide, far, cfg(test.clients))
				s, c := <-server, <-client
				require.NoError(t, s.err)
				require.NoError(t, c.err)
				assert.Equal(t, Methods{Own: test.wantClient, Peer: test.wantPeer}, c.c.Methods())
				assert.Equal(t, Methods{Own: test.wantPeer, Peer: test.wantClient}, s.c.Methods())
				c.c.ForgetMethods()
				assert.Zero(t, c.c.Methods())
			})
		})
	}
}

// The handshake registers only methods that fit.
func TestOfferedMethods(t *testing.T) {
	long := strings.Repeat("x", 1000)
	many := slices.Repeat([]string{""}, 2000)
	for _, test := range []struct {
		name          string
		beside        int // bytes of meta
		methods, want []string
	}{
		{"none", 0, nil, []string{}},
		{"long names", 0, []string{long, long + "x", "a", long}, []string{long, "a", long}},
		{"no UTF-8", 0, []string{"a", "\xff", "b"}, []string{"a", "b"}},
		{"many", 0, many, many[:1024]},
		{"many bytes", 0, []string{long, long, long, long, strings.Repeat("y", 77), strings.Repeat("z", 76), ""},
			[]string{long, long, long, long, strings.Repeat("z", 76)}},
		{"large meta", methodsBeside + 1, []string{"a"}, []string{}},
	} {
		cfg := testConfig()
		cfg.Meta, cfg.Methods = make([]byte, test.beside), func() []string { return test.methods }
		assert.Equal(t, test.want, cfg.offeredMethods(), test.name)
	}
}
