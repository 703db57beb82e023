package conn

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// Calls of RoundTrip at the same time share a Ping, and return its round trip.
func TestRoundTripOnDemand(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		ended := make(chan struct{})
		trips := make(chan time.Duration, 3)
		for range cap(trips) {
			go func() {
				rtt, ok, err := c.RoundTrip(context.Background(), ended)
				assert.True(t, ok)
				assert.NoError(t, err)
				trips <- rtt
			}()
			synctest.Wait()
		}
		value := p.wantPing(packet.TypePing, "the ping of the first")
		time.Sleep(time.Second)
		p.writePong(value, "the pong")
		assert.Equal(t, time.Second, <-trips)
		value = p.wantPing(packet.TypePing, "the ping of the others, which came after the first was sent")
		p.writePong(value, "the pong")
		<-trips
		<-trips
		c.mu.Lock()
		assert.Empty(t, c.pinging)
		c.mu.Unlock()
		p.wantIdle(time.Second, "no further ping")
	})
}

// However often RoundTrip is called, the peer gets at most a Ping in each pingPause.
func TestRoundTripsArePaced(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		stop := make(chan struct{})
		done := kit.Start(func() error {
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				if _, ok, _ := c.RoundTrip(context.Background(), stop); !ok {
					return nil
				}
			}
		})
		start := time.Now()
		for range 100 {
			p.writePong(p.wantPing(packet.TypePing, "a ping"), "the pong")
		}
		assert.GreaterOrEqual(t, time.Since(start), 99*pingPause)
		close(stop)
		require.NoError(t, <-done)
		p.drain()
	})
}

func TestRoundTripThatIsGivenUp(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		p.drain()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, ok, err := c.RoundTrip(ctx, nil)
		assert.False(t, ok)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		ended := make(chan struct{})
		close(ended)
		_, ok, err = c.RoundTrip(context.Background(), ended)
		assert.False(t, ok)
		assert.NoError(t, err)
		assert.Empty(t, c.pinging)
	})
}
