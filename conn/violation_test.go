package conn

import (
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

func TestViolations(t *testing.T) {
	for _, test := range []struct {
		name  string
		frame []byte
		want  []string
	}{
		{"an unknown type", frameOf(packet.Header{Type: 0x6f}), []string{"unknown type 0x6f", "wire 2"}},
		{"type 0", frameOf(packet.Header{}), []string{"unknown type 0x00"}},
		{"an unknown flag", frameOf(packet.Header{Type: packet.TypeData, Flags: 0x40, Stream: 1}), []string{"data", "unknown flags 0x40"}},
		{"a flag where there is none", frameOf(packet.Header{Type: packet.TypePing, Flags: 1}, make([]byte, 8)...), []string{"ping", "unknown flags 0x01"}},
		{"too long", packet.AppendHeader(nil, packet.Header{Type: packet.TypeData, Stream: 1, Length: 64<<10 + 1}), []string{"data", "65537", "65536"}},
		{"much too long", packet.AppendHeader(nil, packet.Header{Type: packet.TypeData, Stream: 1, Length: 1<<32 - 1}), []string{"4294967295"}},
		{"too long, though ignorable", packet.AppendHeader(nil, packet.Header{Type: 0xf0, Length: 64<<10 + 1}), []string{"type 0xf0", "65537"}},
		{"a stream in a ping", frameOf(packet.Header{Type: packet.TypePing, Stream: 3}, make([]byte, 8)...), []string{"ping", "stream 3"}},
		{"data without a stream", frameOf(packet.Header{Type: packet.TypeData}), []string{"data", "stream 0"}},
		{"close without fin", frameOf(packet.Header{Type: packet.TypeData, Flags: packet.FlagClose, Stream: 1}), []string{"close without fin"}},
		{"a short ping", frameOf(packet.Header{Type: packet.TypePing}, make([]byte, 7)...), []string{"ping", "7 bytes"}},
		{"a long pong", frameOf(packet.Header{Type: packet.TypePong}, make([]byte, 9)...), []string{"pong", "9 bytes"}},
		{"a short goaway", frameOf(packet.Header{Type: packet.TypeGoAway}, make([]byte, 7)...), []string{"goaway", "7 bytes"}},
		{"a short close", frameOf(packet.Header{Type: packet.TypeClose}), []string{"close", "0 bytes"}},
		{"a long close", frameOf(packet.Header{Type: packet.TypeClose}, make([]byte, 8+packet.MaxText+1)...), []string{"close", "521"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
				u.give(dataFrame(7))
				p.write(test.frame, "a violation")
				p.want(packet.TypeData, "a frame that was ready")
				n := p.wantReason(packet.TypeClose, geminio.CodeProtocol, "the Close frame with the reason")
				for _, want := range test.want {
					assert.Contains(t, n.Text, want)
				}
				p.writeBytes(dataFrame(1, 2, 3), "a frame after the violation, which is discarded")
				p.nc.Close()
				<-c.Done()
				<-u.over
				s := u.seen()
				assert.Empty(t, s.got)
				assert.Equal(t, 1, s.ends)
				assert.True(t, s.deliver)
				for _, err := range []error{s.readErr, s.cause, c.Cause()} {
					require.ErrorIs(t, err, geminio.ErrProtocol)
					var bad *packet.Error
					require.ErrorAs(t, err, &bad)
					assert.Equal(t, n.Text, err.Error())
				}
			})
		})
	}
}

// The peer keeps sending after the Close frame. The connection ends after the linger time.
func TestViolationIsBoundedInTime(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		p.write(frameOf(packet.Header{Type: 0x6f}), "a violation")
		start := time.Now()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { // keeps sending
			for {
				p.nc.SetWriteDeadline(time.Now().Add(time.Minute))
				if _, err := p.nc.Write(make([]byte, 1000)); err != nil {
					return
				}
				time.Sleep(time.Second / 10)
			}
		})
		<-c.Done()
		assert.Equal(t, 5*time.Second, time.Since(start))
	})
}

// A violation on a connection that is closing has no effect.
func TestViolationWhileClosing(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeHandler, p *peer) {
		c.Close(io.EOF, packet.Reason{})
		p.wantReason(packet.TypeClose, 0, "the Close frame")
		err := c.Cause()
		assert.Equal(t, io.EOF, err, "the cause after a violation, which is that of the close")
		p.write(frameOf(packet.Header{Type: 0x6f}), "a violation")
		synctest.Wait()
		assert.Equal(t, io.EOF, c.Cause())
		p.wantIdle(time.Second, "after the Close frame")
	})
}
