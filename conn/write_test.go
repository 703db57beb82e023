package conn

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// satisfied is a Writer.
type satisfied bool

func (s satisfied) Sent() bool { return bool(s) }

// Every frame of many writers arrives whole, and those of one writer in order,
// whichever way they ask for the writing.
func TestManyWriters(t *testing.T) {
	for _, over := range []string{"tcp", "pipe"} {
		t.Run(over, func(t *testing.T) {
			near, far := tcpPair(t)
			if over == "pipe" {
				near, far = net.Pipe()
			}
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
							c.Push(satisfied(i%2 == 0), false)
						}
					}
				})
			}
			next := make(map[uint64]int)
			for range writers * frames {
				h, payload, err := p.read()
				require.NoError(t, err)
				i := int(h.Stream) - 1
				k := next[h.Stream]
				require.EqualValues(t, k, binary.BigEndian.Uint64(payload))
				require.Len(t, payload, 16+(i*k)%3000)
				next[h.Stream]++
			}
			all.Wait()
			go c.Close(errMine, packet.Reason{})
			p.wantReason(packet.TypeClose, 0, "nothing else is left")
			p.writeClose(packet.Reason{}, "the answer")
			<-c.Done()
			<-u.over
		})
	}
}

// Nobody who asks for the writing waits for a peer that does not read.
func TestKickAndPushDoNotBlock(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeUpper, p *peer) {
		start := time.Now()
		for range 100 {
			u.give(dataFrame(1))
			c.Kick()
			c.Push(nil, true)
			c.Push(satisfied(false), false)
		}
		synctest.Wait()
		assert.Zero(t, time.Since(start))
		for range 100 {
			p.want(packet.TypeData, "all are written in the end")
		}
	})
}

// fillUp makes frames ready until the socket and everything before it is full.
func (u *fakeUpper) fillUp(t *testing.T, c *Conn, frame []byte) (frames int) {
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

func TestPushDoesNotWaitForAFullSocket(t *testing.T) {
	near, far := tcpPair(t)
	p := &peer{t, far}
	c, u := startOn(t, geminio.RecipientSide, near, p, testConfig())
	frames := u.fillUp(t, c, dataFrame(make([]byte, 60_000)...))
	for range frames {
		p.want(packet.TypeData, "all are written in the end")
	}
	go c.Close(errMine, packet.Reason{})
	p.wantReason(packet.TypeClose, 0, "the end")
	p.nc.Close()
	<-c.Done()
	<-u.over
}

// lenderCount counts what came back.
type lenderCount struct {
	mu   sync.Mutex
	back int
}

func (l *lenderCount) Written() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.back++
}

func (l *lenderCount) returned() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.back
}

// What is lent to a writer that waits for a full socket can be had back at once,
// and the bytes that go out are still the right ones.
func TestReclaim(t *testing.T) {
	near, far := tcpPair(t)
	p := &peer{t, far}
	c, u := startOn(t, geminio.RecipientSide, near, p, testConfig())
	lender := &lenderCount{}
	u.from = lender
	frame := dataFrame(bytes.Repeat([]byte{7}, 60_000)...)
	frames := u.fillUp(t, c, frame)
	assert.Zero(t, c.Reclaim(&lenderCount{}), "somebody else has lent nothing")
	inBatch := frames - lender.returned() - len(u.ready)
	require.Positive(t, inBatch, "the socket is full")
	assert.Equal(t, inBatch, c.Reclaim(lender))
	assert.Zero(t, c.Reclaim(lender), "once")
	u.mu.Lock()
	for i := range u.ready { // what nobody has taken stays lent
		u.ready[i] = bytes.Clone(u.ready[i])
	}
	u.mu.Unlock()
	clear(frame) // the lender's again
	for range frames {
		for _, b := range p.want(packet.TypeData, "all are written in the end") {
			require.EqualValues(t, 7, b)
		}
	}
	p.nc.Close()
	<-c.Done()
	<-u.over
	assert.Equal(t, frames-inBatch, lender.returned(), "what was reclaimed is not returned")
	assert.Zero(t, c.Reclaim(lender))
}

// Loans end with the connection, too.
func TestLoansEndWithTheConnection(t *testing.T) {
	near, far := tcpPair(t)
	p := &peer{t, far}
	cfg := testConfig()
	cfg.Linger = 10 * time.Millisecond
	c, u := startOn(t, geminio.RecipientSide, near, p, cfg)
	lender := &lenderCount{}
	u.from = lender
	frames := u.fillUp(t, c, dataFrame(make([]byte, 60_000)...))
	u.mu.Lock()
	taken := frames - len(u.ready)
	u.mu.Unlock()
	c.abort(errMine)
	<-c.Done()
	<-u.over
	for end := time.Now().Add(10 * time.Second); lender.returned() < taken && time.Now().Before(end); {
	}
	assert.Equal(t, taken, lender.returned())
}

func TestTransportThatCannotLendCopies(t *testing.T) {
	onPipe(t, testConfig(), func(c *Conn, u *fakeUpper, p *peer) {
		lender := &lenderCount{}
		u.from = lender
		frame := dataFrame(1, 2, 3)
		u.give(frame)
		c.Push(nil, false)
		synctest.Wait() // the writer waits for the peer
		assert.Zero(t, c.Reclaim(lender), "nothing is on loan")
		clear(frame)
		assert.Equal(t, []byte{1, 2, 3}, p.want(packet.TypeData, "a copy"))
		synctest.Wait()
		assert.Zero(t, lender.returned())
	})
}

func TestBatchIsBounded(t *testing.T) {
	for _, lend := range []bool{true, false} {
		b := newBatch(lend)
		p := make([]byte, 5000)
		n := 0
		for b.Room() > 0 {
			b.Buf = packet.AppendHeader(b.Buf, packet.Header{Length: 5000})
			b.Lend(p, &lenderCount{})
			n++
		}
		assert.LessOrEqual(t, b.Size(), MaxBatch+5000+packet.HeaderLen)
		assert.LessOrEqual(t, len(b.pieces), maxPieces)
		if !lend {
			assert.Equal(t, MaxBatch/5012+1, n)
		}
		b.seal()
		assert.Equal(t, n*5012, b.Size())
		total := 0
		for _, piece := range b.pieces {
			total += len(piece)
		}
		assert.Equal(t, b.Size(), total)
		b.free()
	}
}

func TestBatchAdvance(t *testing.T) {
	b := newBatch(true)
	b.Buf = append(b.Buf, "abc"...)
	b.Lend([]byte("defg"), &lenderCount{})
	b.Buf = append(b.Buf, "hi"...)
	b.seal()
	var got []byte
	for done := false; !done; {
		got = append(got, b.pieces[b.first][0])
		done = b.advance(1)
	}
	assert.Equal(t, "abcdefghi", string(got))
	b.free()
}
