package conn

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// countingOwner is a BufferOwner that counts the calls of Written.
type countingOwner struct {
	mu   sync.Mutex
	back int
}

func (l *countingOwner) Written() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.back++
}

func (l *countingOwner) returned() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.back
}

// A buffer that is lent to a writer that waits for a full socket can be reclaimed at once. The
// right bytes are written all the same.
func TestReclaim(t *testing.T) {
	near, far := kit.TCPPair(t)
	p := &peer{t, far}
	c, u := startOn(t, geminio.RecipientSide, near, p, testConfig())
	lender := &countingOwner{}
	u.from = lender
	frame := dataFrame(bytes.Repeat([]byte{7}, 60_000)...)
	frames := u.fillUp(t, c, frame)
	assert.Zero(t, c.Reclaim(&countingOwner{}), "buffers of another owner")
	inBatch := frames - lender.returned() - len(u.ready)
	require.Positive(t, inBatch, "frames in the batch of a full socket")
	assert.Equal(t, inBatch, c.Reclaim(lender))
	assert.Zero(t, c.Reclaim(lender), "buffers of the second Reclaim")
	u.mu.Lock()
	for i := range u.ready { // the frames that are in no batch
		u.ready[i] = bytes.Clone(u.ready[i])
	}
	u.mu.Unlock()
	clear(frame) // the memory belongs to the owner again
	for range frames {
		for _, b := range p.want(packet.TypeData, "the frames") {
			require.EqualValues(t, 7, b)
		}
	}
	p.nc.Close()
	<-c.Done()
	<-u.over
	assert.Equal(t, frames-inBatch, lender.returned(), "calls of Written, want none for reclaimed buffers")
	assert.Zero(t, c.Reclaim(lender))
}

// The end of the connection returns all buffers.
func TestLoansEndWithTheConnection(t *testing.T) {
	near, far := kit.TCPPair(t)
	p := &peer{t, far}
	cfg := testConfig()
	cfg.Linger = 10 * time.Millisecond
	c, u := startOn(t, geminio.RecipientSide, near, p, cfg)
	lender := &countingOwner{}
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

func TestBatchIsBounded(t *testing.T) {
	for lend, limit := range map[bool]int{true: MaxBatch, false: copiedBatch} {
		b := newBatch(lend)
		p := make([]byte, 5000)
		n := 0
		for b.Room() > 0 {
			b.Buf = packet.AppendHeader(b.Buf, packet.Header{Length: 5000})
			b.Lend(p, &countingOwner{})
			n++
		}
		assert.LessOrEqual(t, b.Size(), limit+5000+packet.HeaderLen)
		assert.LessOrEqual(t, len(b.pieces), maxPieces)
		if !lend {
			assert.Equal(t, limit/5012+1, n)
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

// A frame that has the size that Fit returns ends with a batch of a transport that cannot lend.
func TestFit(t *testing.T) {
	const largest = 50_000
	b := newBatch(true)
	b.Buf = append(b.Buf, make([]byte, 60_000)...)
	assert.Equal(t, largest, b.Fit(largest))
	b.free()
	b = newBatch(false)
	for b.Room() > 0 {
		n := b.Fit(largest)
		assert.LessOrEqual(t, n, largest)
		b.Buf = packet.AppendHeader(b.Buf, packet.Header{Length: uint32(n)})
		b.Buf = append(b.Buf, make([]byte, n)...)
	}
	assert.Equal(t, copiedBatch, b.Size())
	b.Buf = b.Buf[:copiedBatch-packet.HeaderLen]
	assert.Equal(t, leastFit, b.Fit(largest))
	assert.Equal(t, 100, b.Fit(100))
	b.free()
}

func TestBatchAdvance(t *testing.T) {
	b := newBatch(true)
	b.Buf = append(b.Buf, "abc"...)
	b.Lend([]byte("defg"), &countingOwner{})
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
