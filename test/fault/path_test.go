package fault

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// The log of a session does not bound the pace of a long path: over 1 Gbit/s with a round trip
// of 100 ms, with all options at their defaults, a stream is as fast with resumption as without.
func TestLogDoesNotBoundALongPath(t *testing.T) {
	const first, rest = 200 << 20, 200 << 20 // the windows and the log grow during the first bytes
	path := kit.Path{Rate: 125_000_000, RTT: 100 * time.Millisecond, Queue: 4 << 20}
	measure := func(r resumption) (whole, second time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			link := kit.NewLink(path)
			p, err := r.join(t, func() (net.Conn, net.Conn, error) {
				near, far := link.Pipe()
				return near, far, nil
			}, nil, nil)
			require.NoError(t, err)
			defer p.Close()
			s, other := rig.OpenStream(t, p.Client, p.Server)
			start := time.Now()
			go func() {
				buf := make([]byte, 256<<10)
				for n := 0; n < first+rest; n += len(buf) {
					s.Write(buf)
				}
			}()
			_, err = io.CopyN(io.Discard, other, first)
			require.NoError(t, err)
			half := time.Now()
			_, err = io.CopyN(io.Discard, other, rest)
			require.NoError(t, err)
			whole, second = time.Since(start), time.Since(half)
			if c, ok := p.Client.(*client.RetryEnd); ok {
				assert.Zero(t, c.Stats().Interruptions)
			}
		})
		return whole, second
	}
	ideal := time.Duration(int64(rest) * int64(time.Second) / int64(path.Rate))
	wholeOff, off := measure(noResumption)
	wholeOn, on := measure(withResumption)
	t.Logf("400 MiB: %v with resumption, %v without; of these the last 200 MiB: %v (%.2f of the path), and %v (%.2f)",
		wholeOn, wholeOff, on, ideal.Seconds()/on.Seconds(), off, ideal.Seconds()/off.Seconds())
	assert.LessOrEqual(t, on, off*105/100)
	assert.LessOrEqual(t, wholeOn, wholeOff*110/100)
}
