package geminiotest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/geminiotest"
	"github.com/singchia/geminio/server"
)

// testHourWithoutNetwork runs a server and a client that reconnects. In the bubble, the hour in
// which the network carries nothing takes no time.
func testHourWithoutNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := geminiotest.NewNetwork(t)
		l, err := server.NewListener(network.Listen())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		opt := client.NewEndOptions()
		opt.SetConnectWait(0) // OpenStream waits for the network without a bound
		end, err := client.NewRetryEndWithDialer(network.Dial, opt)
		if err != nil {
			t.Fatal(err)
		}
		defer end.Close()

		network.SetBlackHole(true)
		time.AfterFunc(time.Hour, func() { network.SetBlackHole(false) })
		if _, err := end.OpenStream(); err != nil {
			t.Error(err)
		}
	})
}

func ExampleNetwork() {
	_ = testing.InternalTest{Name: "TestHourWithoutNetwork", F: testHourWithoutNetwork}
}
