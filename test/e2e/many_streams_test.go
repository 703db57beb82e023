package e2e

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/gauge"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// Each side opens 65,536 streams with default options. Then each stream carries a byte, a call
// and a message, in the direction of its opening. The idle streams use a bounded memory.
func TestEachSideOpens65536Streams(t *testing.T) {
	const perStream = 1400 // bytes, of both sides
	streams := kit.Amount("tcp", 65_536)
	p := rig.NewPair(t, "tcp", nil, nil)
	before := gauge.Take()
	ways := []*manyStreams{openManyStreams(t, p.Client, p.Server, streams), openManyStreams(t, p.Server, p.Client, streams)}
	idle := gauge.Settle(gauge.Patience, func(u gauge.Usage) bool { return u.Since(before).Goroutines <= 0 }).Since(before)
	t.Logf("%d streams: %d bytes of heap for each", 2*streams, idle.Heap/int64(2*streams))
	if !kit.Race {
		assert.LessOrEqual(t, idle.Heap, int64(2*streams*perStream+8<<20))
	}
	for _, w := range ways {
		w.use(t)
	}
}

// manyStreams has both sides of many streams, by their order.
type manyStreams struct {
	opened   []geminio.Stream
	accepted map[uint64]geminio.Stream // by id
}

// openManyStreams opens n streams from one End to the other.
func openManyStreams(t *testing.T, from, to geminio.End, n int) *manyStreams {
	m := &manyStreams{opened: make([]geminio.Stream, n), accepted: make(map[uint64]geminio.Stream, n)}
	unaccepted := make(chan struct{}, 512) // the openers are faster than the acceptor, and an End refuses more than 1024
	accepted := kit.Start(func() error {
		for range n {
			s, err := to.AcceptStream()
			if err != nil {
				return err
			}
			m.accepted[s.StreamID()] = s
			<-unaccepted
		}
		return nil
	})
	each(n, func(i int) {
		unaccepted <- struct{}{}
		var err error
		m.opened[i], err = from.OpenStream()
		assert.NoError(t, err, "stream %d", i)
	})
	if t.Failed() {
		t.FailNow()
	}
	require.NoError(t, <-accepted)
	return m
}

// use sends a byte, a call and a message over each stream.
func (m *manyStreams) use(t *testing.T) {
	each(len(m.opened), func(i int) {
		s := m.opened[i]
		far := m.accepted[s.StreamID()]
		assert.NoError(t, far.Hijack(echoAny))
		_, err := s.Write([]byte{byte(i)})
		assert.NoError(t, err)
		b := make([]byte, 1)
		_, err = far.Read(b)
		assert.NoError(t, err)
		assert.Equal(t, byte(i), b[0])
		resp, err := s.Call(t.Context(), "echo", s.NewRequest(b))
		if assert.NoError(t, err) {
			assert.Equal(t, b, resp.Data())
		}
		acked := kit.Start(func() error { return s.Publish(t.Context(), s.NewMessage(make([]byte, 200))) })
		msg, err := far.Receive(t.Context())
		if assert.NoError(t, err) {
			assert.Len(t, msg.Data(), 200)
			msg.Done()
		}
		assert.NoError(t, <-acked)
	})
}

// echoAny answers calls of all methods with their data.
func echoAny(_ context.Context, _ string, req geminio.Request, resp geminio.Response) {
	resp.SetData(req.Data())
}

// each calls f for the numbers below n, 64 at a time.
func each(n int, f func(i int)) {
	const parts = 64
	var all sync.WaitGroup
	for part := range parts {
		all.Go(func() {
			for i := part; i < n; i += parts {
				f(i)
			}
		})
	}
	all.Wait()
}
