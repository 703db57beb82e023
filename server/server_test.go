package server_test

import (
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// A single End is made of such a client too.
func TestEndOfClientThatLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: rig.Echo})
		near, far := net.Pipe()
		defer near.Close()
		type result struct {
			end geminio.End
			err error
		}
		made := kit.Start(func() result {
			end, err := server.NewEndWithConn(far, opt)
			return result{end, err}
		})
		r, _, err := dialHandshake(t, near, rawHello{})
		require.NoError(t, err)
		sendWork(r)
		r.send(rawClose(0, ""))
		got := <-made
		require.NoError(t, got.err)
		wantWork(t, got.end, false)
	})
}
