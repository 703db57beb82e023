package wire1

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

func TestSkew(t *testing.T) {
	now := testStart
	id := func(at time.Time) uint64 { return uint64(at.Unix())<<32 | 77 }
	for _, skewed := range []time.Duration{0, time.Hour, -time.Hour, 24 * time.Hour, -3 * time.Second} {
		peer := now.Add(skewed)
		var s skew
		s.learn(id(peer), now)
		left := s.left(peer.Add(5*time.Second), now)
		assert.GreaterOrEqual(t, left, 5*time.Second, "%v: never too early", skewed)
		assert.Less(t, left, 7*time.Second, "%v: nor much too late", skewed)
		deadline := s.deadline(5*time.Second, now)
		assert.GreaterOrEqual(t, deadline.Sub(peer), 5*time.Second, "%v: neither at the peer", skewed)
	}
	t.Run("ids that say nothing", func(t *testing.T) {
		for _, id := range []uint64{1, 1 << 63, 1<<64 - 1} {
			var s skew
			s.learn(id, now)
			assert.Positive(t, s.left(now.Add(time.Second), now))
			assert.Positive(t, s.left(time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC), now))
			assert.Positive(t, s.left(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), now))
			assert.True(t, s.deadline(1<<62, now).After(now))
		}
	})
	t.Run("no deadline", func(t *testing.T) {
		var s skew
		assert.Zero(t, s.left(time.Time{}, now))
		assert.True(t, s.deadline(0, now).IsZero())
	})
	t.Run("a deadline that passes while it waits", func(t *testing.T) {
		p := newPair(t, geminio.RecipientSide)
		for id := range uint64(5) {
			p.peer(Packet{Type: TypeRequest, ID: id, Session: 1, Content: Content{Deadline: p.now.Add(time.Second)}})
		}
		e := p.wantFrame(packet.TypeRequest, "the first request is passed")
		p.seen = len(p.conn.events)
		p.pass(2 * time.Second)
		p.respond(e, packet.Response{})
		assert.EqualValues(t, 1, p.wantFrame(packet.TypeRequest, "the last request is passed").req.Timeout, "the timeout of a request whose deadline has passed")
	})
}
