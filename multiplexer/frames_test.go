package multiplexer

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// A batch has the frames of the connection first, then control frames, packets and raw bytes.
func TestOrderOfFrames(t *testing.T) {
	s := newSetup()
	s.local.Handlers, s.local.MaxStreams = 1, 1
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		p.writePacket(packet.TypeRequest, 3, 1, 10, "a request")
		synctest.Wait()
		blockWriter(t, m)
		_, err := d.Write(make([]byte, 100))
		require.NoError(t, err)
		require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, 1, nil, make([]byte, 10), AtOnce))
		require.NoError(t, d.CloseRead())
		d.Release(packet.TypeRequest, 10)
		p.writeOpen(5, "an Open beyond the limit")
		synctest.Wait()
		p.want(packet.TypeData, 0, 1, "the frame that blocks the writer")
		assert.EqualValues(t, 1, p.wantCredit(0, packet.ClassHandlers, "credit of the connection comes first"))
		p.wantReason(packet.TypeRefuse, 5, geminio.CodeLimit, "refusals follow")
		p.wantReason(packet.TypeStop, 3, 0, "control frames follow")
		p.wantPacket(packet.TypeMessage, 3, "packets follow")
		p.want(packet.TypeData, 0, 3, "raw bytes are last")
		p.wantIdle("no frame is sent twice")
	})
}

// The bits of control make one frame each, however often they were set.
func TestControlFramesAreMerged(t *testing.T) {
	newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		d := openFrom(t, m, p, 3)
		for i := range uint64(3) {
			p.writePacket(packet.TypeMessage, 3, i, 1000, "a message")
			p.writePacket(packet.TypeMessage, 3, 10+i, 10_000, "a large message")
		}
		synctest.Wait()
		blockWriter(t, m)
		for range 3 {
			d.Release(packet.TypeMessage, 1000)
			d.Release(packet.TypeMessage, 10_000)
		}
		p.want(packet.TypeData, 0, 1, "the frame that blocks the writer")
		assert.EqualValues(t, 3*1128, p.wantCredit(3, packet.ClassMessages, "one Credit frame for all messages"))
		assert.EqualValues(t, 30_000, p.wantCredit(3, packet.ClassLargeMessages, "one Credit frame for all large messages"))
		p.wantIdle("credit is granted once")
	})
}

// The last Data frame of a stream has the flags that end it. They wait for queued packets.
func TestEndFlags(t *testing.T) {
	const fin, finClose = packet.FlagFin, packet.FlagFin | packet.FlagClose
	for _, test := range []struct {
		name  string
		end   func(d *Dialogue) error
		bytes int
		flags packet.Flags
	}{
		{"CloseWrite", (*Dialogue).CloseWrite, 100, fin},
		{"CloseWrite without bytes", (*Dialogue).CloseWrite, 0, fin},
		{"Close", (*Dialogue).Close, 100, finClose},
		{"Close without bytes", (*Dialogue).Close, 0, finClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			newSetup().run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				blockWriter(t, m)
				_, err := d.Write(make([]byte, test.bytes))
				require.NoError(t, err)
				require.NoError(t, d.Send(t.Context(), 0, packet.TypeMessage, 1, nil, make([]byte, 10), AtOnce))
				require.NoError(t, test.end(d))
				p.want(packet.TypeData, 0, 1, "the frame that blocks the writer")
				p.wantPacket(packet.TypeMessage, 3, "the queued packet")
				payload := p.want(packet.TypeData, test.flags, 3, "the last Data frame has the flags")
				assert.Len(t, payload, test.bytes)
				p.wantIdle("nothing follows the flags")
			})
		})
	}
}

// Raw bytes are sent in frames of at most the peer's largest.
func TestLengthOfDataFrames(t *testing.T) {
	for _, size := range []int{1 << 10, 9000} { // queued and lent
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := newSetup()
			s.peer.MaxFrame, s.peer.Raw = 1<<10, 16<<10
			s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
				d := openFrom(t, m, p, 3)
				go d.Write(make([]byte, size))
				for got := 0; got < size; {
					head, payload := p.next("the bytes arrive")
					require.Equal(t, packet.TypeData, head.Type)
					require.LessOrEqual(t, len(payload), 1<<10, "payload of a frame")
					got += len(payload)
				}
			})
		})
	}
}

// OnIdle is called without the lock of the batch that has the last frame of the dialogue, so
// that the Handler may take further locks.
func TestOnIdleWithoutTheBatchLock(t *testing.T) {
	near, far := net.Pipe()
	m, h, p := newSetup().start(t, near, far)
	openFrom(t, m, p, 3)
	unlocked := make(chan bool, 1)
	h.mu.Lock()
	h.onIdle = func() {
		reclaimed := make(chan struct{})
		go func() {
			m.c.Reclaim(nil) // takes the lock of the batch
			close(reclaimed)
		}()
		select {
		case <-reclaimed:
			unlocked <- true
		case <-time.After(5 * time.Second):
			unlocked <- false
		}
	}
	h.mu.Unlock()
	p.writeData(3, packet.FlagFin|packet.FlagClose, 0, "the peer closes")
	p.want(packet.TypeData, packet.FlagFin|packet.FlagClose, 3, "the close flag is answered")
	assert.True(t, <-unlocked, "OnIdle was called with the lock of the batch")
	far.Close()
	<-m.c.Done()
	<-h.ended
}

// A Write whose rest is short returns when the frame before the rest is in a batch. The rest goes
// with the bytes of the next Write.
func TestShortRestOfAWrite(t *testing.T) {
	const frame = 64<<10 - packet.HeaderLen // with its header, a frame fills a batch
	s := newSetup()
	s.peer.Raw = 1 << 20
	s.run(t, func(t *testing.T, m *Mux, h *fakeHandler, p *peer) {
		p.windows.Raw = s.peer.Raw
		d := openFrom(t, m, p, 3)
		sent := make([]byte, 2*frame+shortRest-1)
		for i := range sent {
			sent[i] = byte(i / 251)
		}
		n, err := d.Write(sent[:frame+shortRest-1])
		assert.Equal(t, frame+shortRest-1, n, "the peer has read nothing")
		require.NoError(t, err)
		_, err = d.Write(sent[n:][:10])
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- errOf(d.Write(sent[n+10:])) }()
		synctest.Wait()
		assert.Empty(t, ended, "a Write whose rest is not short")

		got := p.want(packet.TypeData, 0, 3, "the frame of the first Write")
		assert.Len(t, got, frame)
		for len(got) < len(sent) {
			got = append(got, p.want(packet.TypeData, 0, 3, "the other bytes")...)
		}
		assert.Equal(t, sent, got)
		assert.NoError(t, <-ended)
		p.wantIdle("no more bytes")
	})
}
