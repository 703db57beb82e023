package tunnel

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

func TestJoinHalfClose(t *testing.T) {
	const size = 3<<20 + 17
	for name, clientFirst := range map[string]bool{"the client first": true, "the target first": false} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, t.Context())
			first, second := p.client, p.target
			if !clientFirst {
				first, second = second, first
			}
			var sent [32]byte
			var wg sync.WaitGroup
			wg.Go(func() {
				sent = send(t, first, size, 1)
				assert.NoError(t, first.CloseWrite())
			})
			got := receive(t, second) // returns with the half close
			wg.Wait()
			assert.Equal(t, sent, got)

			wg.Go(func() { // the other direction continues
				sent = send(t, second, size, 2)
				assert.NoError(t, second.CloseWrite())
			})
			got = receive(t, first)
			wg.Wait()
			assert.Equal(t, sent, got)
			assert.NoError(t, <-p.joins[0])
			assert.NoError(t, <-p.joins[1])
		})
	}
}

// The loss of the connection between the Legs is not an end of file on either side.
func TestJoinConnectionLost(t *testing.T) {
	for name, halfClosed := range map[string]bool{"open": false, "half closed": true} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, t.Context())
			_, err := io.WriteString(p.client, "question")
			require.NoError(t, err)
			if halfClosed {
				require.NoError(t, p.client.CloseWrite())
			}
			_, err = io.ReadFull(p.target, make([]byte, 8))
			require.NoError(t, err)
			_, err = io.WriteString(p.target, "half of the ans")
			require.NoError(t, err)
			_, err = io.ReadFull(p.client, make([]byte, 15))
			require.NoError(t, err)

			p.cut()
			_, err = io.ReadAll(p.client)
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			assert.Error(t, <-p.joins[0])
			assert.Error(t, <-p.joins[1])
		})
	}
}

// The bytes that a target has sent before a reset arrive, and the reset follows.
func TestJoinReset(t *testing.T) {
	p := newPath(t, t.Context())
	_, err := io.WriteString(p.target, "last words")
	require.NoError(t, err)
	words := make([]byte, 10)
	_, err = io.ReadFull(p.client, words)
	require.NoError(t, err)
	p.target.SetLinger(0)
	p.target.Close()
	rest, err := io.ReadAll(p.client)
	assert.Empty(t, rest)
	assert.ErrorIs(t, err, syscall.ECONNRESET)

	var abort *AbortError
	err = <-p.joins[0]
	assert.ErrorAs(t, err, &abort)
	assert.ErrorContains(t, err, "connection reset by peer")
	assert.ErrorIs(t, <-p.joins[1], syscall.ECONNRESET)
}

// Join passes on the bytes that arrived before an abort, to a reader that has not read yet.
func TestJoinHandsOver(t *testing.T) {
	nearA, farA, _ := streamPair(t)
	nearB, farB, _ := streamPair(t)
	from, middle, to := Stream(nearA), Stream(farA), Stream(farB)
	joined := make(chan error, 1)
	go func() { joined <- Join(t.Context(), middle, Stream(nearB), new(Traffic)) }()

	sent := send(t, from, 24<<10, 1) // more than one window, less than two
	from.Abort(errors.New("that was all"))
	<-middle.Broken()
	sum := sha256.New()
	n, err := io.Copy(sum, to)
	assert.EqualValues(t, 24<<10, n)
	assert.Equal(t, sent, [32]byte(sum.Sum(nil)))
	assert.ErrorContains(t, err, "that was all")
	assert.ErrorContains(t, <-joined, "that was all")
}

// A side that does not read does not delay the end of a broken connection for ever.
func TestJoinBrokenBeforeSlowReader(t *testing.T) {
	p := newPath(t, t.Context())
	fill(t, p.client)
	p.near.Close() // without an end or abort message
	assert.Error(t, <-p.joins[0])
	assert.Error(t, <-p.joins[1])
}

// fill writes until a write does not return for 100 ms.
func fill(t *testing.T, c net.Conn) {
	t.Helper()
	var err error
	for chunk := make([]byte, 1<<20); err == nil; {
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
		_, err = c.Write(chunk)
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestJoinInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	p := newPath(t, ctx)
	why := errors.New("the test stops")
	cancel(why)
	assert.Equal(t, why, <-p.joins[0])
	assert.Error(t, <-p.joins[1])
	_, err := io.ReadAll(p.client)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	_, err = io.ReadAll(p.target)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

// raw is the other side of a Leg. A test chooses its messages.
type raw struct {
	*testing.T
	geminio.Stream
}

func (r raw) say(topic string, data []byte) {
	r.Helper()
	opt := options.NewMessage()
	opt.SetTopic(topic)
	opt.SetCnss(options.CnssAtMostOnce)
	require.NoError(r, r.Publish(r.Context(), r.NewMessage(data, opt)))
}

func TestStreamEnds(t *testing.T) {
	count := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	for name, test := range map[string]struct {
		end  func(raw)
		want string // "" for io.EOF
	}{
		"well":                        {func(r raw) { r.say(topicEnd, count(5)) }, ""},
		"without a message":           {func(raw) {}, ErrLost.Error()},
		"with bytes missing":          {func(r raw) { r.say(topicEnd, count(6)) }, ErrLost.Error()},
		"with a reason":               {func(r raw) { r.say(topicAbort, []byte("no more")) }, "no more"},
		"with a reason after the end": {func(r raw) { r.say(topicEnd, count(6)); r.say(topicAbort, []byte("no more")) }, ErrLost.Error()},
		"with nonsense":               {func(r raw) { r.say("nonsense", nil) }, `unexpected message "nonsense"`},
	} {
		t.Run(name, func(t *testing.T) {
			near, far, _ := streamPair(t)
			leg := Stream(near)
			_, err := io.WriteString(far, "bytes")
			require.NoError(t, err)
			test.end(raw{t, far})
			far.Close()
			got, err := io.ReadAll(leg)
			assert.Equal(t, "bytes", string(got))
			if test.want == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, test.want)
			}
			<-leg.Broken() // this side has not ended its direction
		})
	}
}
