// go-timer's 64-bit atomic operations are not aligned on 32-bit machines, where its wheel
// panics.

//go:build !386 && !arm && !mips && !mipsle

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/singchia/go-timer/v2"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// TestTimer uses a timer of the user for the timeouts of several Ends. The timer continues after
// their end.
func TestTimer(t *testing.T) {
	tm := timer.NewTimer()
	t.Cleanup(tm.Close)
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetTimer(tm)
	so.SetTimer(tm)
	for range 3 {
		p := rig.NewPair(t, "tcp", co, so)
		mustRegister(t, p.Server, "hang", rig.Hang)
		mustRegister(t, p.Server, "echo", rig.Echo)
		opt := options.Call()
		opt.SetTimeout(50 * time.Millisecond)
		done := kit.Start(func() error { _, err := call(t, p.Client, "hang", "", opt); return err })
		require.ErrorIs(t, kit.Await(t, promptly, "the call", done), context.DeadlineExceeded)
		mustCall(t, p.Client, "echo", "")
		p.Close()
	}
}
