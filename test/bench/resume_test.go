package bench

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
	"github.com/stretchr/testify/require"
)

// BenchmarkResumption does work between a RetryEnd and a Listener with sessions that can be
// resumed, beside the same work without such sessions. The metric of-off is the ratio of the
// pace with them to the pace without them.
func BenchmarkResumption(b *testing.B) {
	off, on := time.Duration(0), time.Minute
	b.Run("Call", func(b *testing.B) {
		contest{raw: by(1, keptCaller(b, off)), ours: by(1, keptCaller(b, on)), ratio: "of-off"}.run(b)
	})
	b.Run("Calls64", func(b *testing.B) {
		contest{raw: by(many, keptCaller(b, off)), ours: by(many, keptCaller(b, on)), ratio: "of-off", least: 2 * many}.run(b)
	})
	b.Run("Message", func(b *testing.B) {
		contest{raw: by(1, keptPublisher(b, off)), ours: by(1, keptPublisher(b, on)), ratio: "of-off"}.run(b)
	})
	b.Run("Messages64", func(b *testing.B) {
		contest{raw: by(many, keptPublisher(b, off)), ours: by(many, keptPublisher(b, on)), ratio: "of-off", least: 2 * many}.run(b)
	})
	b.Run("Bulk", func(b *testing.B) {
		eachPayload(b, func(b *testing.B, size int) {
			b.SetBytes(int64(size))
			contest{raw: keptFlow(b, off, size).move, ours: keptFlow(b, on, size).move, ratio: "of-off", turn: 100 * time.Millisecond}.run(b)
		})
	})
}

// keptEnds are a RetryEnd and the End of a Listener, whose session is kept for the given time
// after the loss of the connection.
func keptEnds(tb testing.TB, keep time.Duration) (c, s geminio.End) {
	so := server.NewEndOptions()
	so.SetResumeKeep(keep)
	nl, err := kit.Listen()
	require.NoError(tb, err)
	l, err := server.NewListener(nl, so)
	require.NoError(tb, err)
	tb.Cleanup(func() { l.Close() })
	co := client.NewEndOptions()
	co.SetResumeKeep(keep)
	accepted := kit.Start(func() error {
		var err error
		s, err = l.AcceptEnd()
		return err
	})
	c, err = client.NewRetryEndWithDialer(func() (net.Conn, error) { return kit.Dial(nl.Addr().String()) }, co)
	require.NoError(tb, err)
	require.NoError(tb, <-accepted)
	tb.Cleanup(func() { c.Close(); s.Close() })
	return c, s
}

func keptCaller(tb testing.TB, keep time.Duration) func() error {
	c, s := keptEnds(tb, keep)
	return callerOf(tb, c, s, 256)
}

func keptPublisher(tb testing.TB, keep time.Duration) func() error {
	c, s := keptEnds(tb, keep)
	go rig.AnswerAll(s)
	data := make([]byte, 256)
	return func() error { return c.Publish(context.Background(), c.NewMessage(data)) }
}

func keptFlow(tb testing.TB, keep time.Duration, size int) *flow {
	c, s := keptEnds(tb, keep)
	return streamFlow(tb, c, s, 1, size)
}
