package multiplexer

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/packet"
)

// sendTurn has q send one turn. It returns the numbers of the packets of which a part or the
// whole was sent.
func sendTurn(t *testing.T, q *packetQueue, frame int) (seqs []uint64) {
	t.Helper()
	head := bytes.Clone(headBytes(q))
	for _, f := range packets(head) {
		seqs = append(seqs, f.Seq)
	}
	b := new(conn.Batch)
	q.appendTurn(b, 1, frame)
	for p := bytes.TrimPrefix(b.Buf, head); len(p) > 0; { // the batch has copied head if it is short
		h, err := packet.ParseHeader(p, packet.DefaultMaxFrame)
		require.NoError(t, err)
		f, err := packet.ParseFragmentHeader(p[packet.HeaderLen:], h)
		require.NoError(t, err)
		seqs = append(seqs, f.Seq)
		p = p[packet.HeaderLen+h.Length:]
	}
	return seqs
}

// headBytes returns the frames of small packets that the next turn sends.
func headBytes(q *packetQueue) []byte {
	if c := q.small.Head(); c != nil {
		return c.Bytes()
	}
	return nil
}

// large returns a packet for the large queue with a body of n bytes.
func large(typ packet.Type, seq uint64, n int) *outgoing {
	return &outgoing{typ: typ, seq: seq, data: make([]byte, n)}
}

// Large packets take turns, and small ones are sent before them.
func TestLargePacketsTakeTurnsInTheQueue(t *testing.T) {
	var q packetQueue
	assert.True(t, q.empty())
	q.addLarge(large(packet.TypeRequest, 1, 25_000))
	q.addLarge(large(packet.TypeRequest, 2, 15_000))
	q.addSmall(packet.Header{Type: packet.TypeRequest, Stream: 1}, 3, []byte("head"), []byte("data"))
	var all []uint64
	for !q.empty() {
		all = append(all, sendTurn(t, &q, 10_000)...)
	}
	assert.Equal(t, []uint64{3, 1, 2, 1, 2, 1}, all)
}

// Messages are sent one after the other. A message that is removed lets the next one go.
func TestMessagesWaitForEachOther(t *testing.T) {
	var q packetQueue
	q.addSmall(packet.Header{Type: packet.TypeMessage, Stream: 1}, 1, nil, nil)
	q.addLarge(large(packet.TypeMessage, 2, 15_000))
	assert.True(t, q.hasMessage())
	for seq := uint64(3); seq < 6; seq++ {
		q.addLarge(large(packet.TypeMessage, seq, 10))
	}
	q.addLarge(large(packet.TypeRequest, 6, 15_000))
	third := q.large.behind.First()
	q.remove(third)
	assert.EqualValues(t, 3, third.seq, "the first message in behind")
	var all []uint64
	for !q.empty() {
		all = append(all, sendTurn(t, &q, 10_000)...)
	}
	assert.Equal(t, []uint64{1, 2, 6, 2, 6, 4, 5}, all)
	assert.False(t, q.hasMessage())
}

// A message behind one that is abandoned after its first fragment is not sent before the
// Abandon, even if many packets are queued before that.
func TestAMessageBeginsBehindTheAbandonOfTheOneBefore(t *testing.T) {
	var q packetQueue
	first := large(packet.TypeMessage, 1, 50_000)
	q.addLarge(first)
	q.addLarge(large(packet.TypeMessage, 2, 50_000))
	assert.Equal(t, []uint64{1}, sendTurn(t, &q, 10_000))
	for seq := uint64(10); seq < 400; seq++ { // more than one chunk
		q.addSmall(packet.Header{Type: packet.TypeRequest, Stream: 1}, seq, nil, make([]byte, 1000))
	}
	q.addSmall(packet.Header{Type: packet.TypeAbandon, Stream: 1}, 1, nil, []byte{byte(packet.TypeMessage)})
	q.remove(first)
	turns := 0
	for ; ; turns++ {
		seqs := sendTurn(t, &q, 10_000)
		if last := seqs[len(seqs)-1]; last == 2 {
			require.Contains(t, seqs, uint64(1), "the Abandon is sent in the turn in which the message begins")
			break
		}
	}
	assert.Greater(t, turns, 2)
}
