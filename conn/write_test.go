package conn

import (
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// fakeWriter is a Writer whose Sent returns its value.
type fakeWriter bool

func (s fakeWriter) Sent() bool { return bool(s) }

// The frames of many writers arrive complete, and those of one writer in order, whichever
// method they use to write.
func TestManyWriters(t *testing.T) {
	for _, over := range []string{"tcp", "pipe"} {
		t.Run(over, func(t *testing.T) {
			near, far, err := kit.RawPair(over)
			require.NoError(t, err)
			defer far.Close()
			p := &peer{t, far}
			c, u := startOn(t, geminio.RecipientSide, near, p, testConfig())
			const writers, frames = 16, 300
			var all sync.WaitGroup
			for i := range writers {
				all.Go(func() {
					for k := range frames {
						payload := make([]byte, 16+(i*k)%3000)
						binary.BigEndian.PutUint64(payload, uint64(k))
						u.give(frameOf(packet.Header{Type: packet.TypeData, Stream: uint64(i + 1)}, payload...))
						switch k % 4 {
						case 0:
							c.Kick()
						case 1:
							c.Push(nil, false)
						case 2:
							c.Push(nil, true)
						case 3:
							c.Push(fakeWriter(i%2 == 0), false)
						}
					}
				})
			}
			next := make(map[uint64]int)
			for range writers * frames {
				h, payload, err := kit.ReadFrame(p.nc, kit.AnyFrame)
				require.NoError(t, err)
				i := int(h.Stream) - 1
				k := next[h.Stream]
				require.EqualValues(t, k, binary.BigEndian.Uint64(payload))
				require.Len(t, payload, 16+(i*k)%3000)
				next[h.Stream]++
			}
			all.Wait()
			go c.Close(errMine, packet.Reason{})
			p.wantReason(packet.TypeClose, 0, "the Close frame after all frames")
			p.writeClose(packet.Reason{}, "the answer")
			<-c.Done()
			<-u.over
		})
	}
}

// Kick and Push return although the peer does not read.
func TestKickAndPushDoNotBlock(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		start := time.Now()
		for range 100 {
			u.give(dataFrame(1))
			c.Kick()
			c.Push(nil, true)
			c.Push(fakeWriter(false), false)
		}
		synctest.Wait()
		assert.Zero(t, time.Since(start))
		for range 100 {
			p.want(packet.TypeData, "a frame")
		}
	})
}

// fillUp makes frames ready until the socket and all buffers before it are full.
func (u *fakeHandler) fillUp(t *testing.T, c *Conn, frame []byte) (frames int) {
	t.Helper()
	for full := 0; full < 3; {
		u.give(frame)
		frames++
		c.Push(nil, false)
		for end := time.Now().Add(20 * time.Millisecond); ; {
			u.mu.Lock()
			left := len(u.ready)
			u.mu.Unlock()
			if left == 0 {
				full = 0
				break
			}
			if time.Now().After(end) {
				full++
				break
			}
		}
		require.Less(t, frames, 10_000)
	}
	return frames
}
