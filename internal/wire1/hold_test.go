package wire1

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// A stream that is not read delays itself and, when the budget is used up, the connection.
func TestHeldUpToTheBudget(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, session := p.offered()
		for p.tr.Reading() {
			p.peer(Packet{Type: TypeStream, Session: session, Raw: make([]byte, 256<<10)})
		}
		assert.LessOrEqual(t, p.tr.held, uint64(testBudget+256<<10))
		p.check()
		total := 0
		for ; p.seen < len(p.conn.events); p.seen++ {
			if e := p.conn.events[p.seen]; e.typ == packet.TypeData {
				assert.Equal(t, number, e.stream)
				total += len(e.data)
				p.frame(p.conn.release(e))
			}
		}
		assert.True(t, p.tr.Reading())
		assert.Zero(t, p.tr.held)
		assert.Greater(t, total, testBudget-256<<10)
	})
}

// Held data is passed in order. One kind of data does not delay another.
func TestHeldKinds(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		_, session := p.offered()
		large := make([]byte, 100<<10)
		for id := range uint64(20) {
			data := []byte("small")
			if id%3 == 0 {
				data = large
			}
			p.peer(Packet{Type: TypeMessage, ID: id, Session: session, Content: Content{Value: data}})
			p.peer(Packet{Type: TypeRequest, ID: id, Session: session, Content: Content{Value: data}})
			p.peer(Packet{Type: TypeStream, Session: session, Raw: large[:3000]})
			p.check()
		}
		raw, messages, requests := 0, uint64(0), uint64(0)
		for ; p.seen < len(p.conn.events); p.seen++ {
			switch e := p.conn.events[p.seen]; e.typ {
			case packet.TypeData:
				raw += len(e.data)
				p.release(e)
			case packet.TypeMessage:
				assert.Equal(t, messages, e.msg.ID)
				messages++
				p.release(e)
			case packet.TypeRequest:
				assert.Equal(t, requests, e.req.ID)
				requests++
				p.respond(e, packet.Response{})
			}
		}
		assert.Equal(t, 20*3000, raw)
		assert.EqualValues(t, 20, messages)
		assert.EqualValues(t, 20, requests)
		assert.Zero(t, p.tr.held)
	})
}

// Streams that wait for the same credit take turns.
func TestHeldStreamsTakeTurns(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		_, a := p.offered()
		_, b := p.offered()
		for id := range uint64(4) {
			p.peer(Packet{Type: TypeRequest, ID: id, Session: 1})
		}
		for id := range uint64(20) {
			p.peer(Packet{Type: TypeRequest, ID: 100 + id, Session: a})
		}
		for id := range uint64(2) {
			p.peer(Packet{Type: TypeRequest, ID: 200 + id, Session: b})
		}
		var order []uint64
		for ; p.seen < len(p.conn.events); p.seen++ {
			if e := p.conn.events[p.seen]; e.typ == packet.TypeRequest {
				order = append(order, e.req.ID)
				p.respond(e, packet.Response{})
			}
		}
		require.Len(t, order, 26)
		assert.Contains(t, order[:9], uint64(200))
		assert.Contains(t, order[:11], uint64(201))
	})
}

func TestLargeResponse(t *testing.T) {
	for _, side := range []geminio.Side{geminio.InitiatorSide, geminio.RecipientSide} {
		p := newPair(t, side, func(c *Config) { c.Offer.MaxMessage, c.Offer.Large = 1<<20, 1<<20+packet.MinLarge })
		large := bytes.Repeat([]byte("x"), 700<<10)
		first, second := p.call(1, packet.Request{}), p.call(1, packet.Request{})
		a, b := p.want(TypeRequest, "the first request is sent"), p.want(TypeRequest, "the second request is sent")
		p.peer(Packet{Type: TypeResponse, ID: b.ID, Session: 1, Content: Content{Value: large}})
		p.peer(Packet{Type: TypeResponse, ID: a.ID, Session: 1, Content: Content{Value: large}})
		e := p.wantFrame(packet.TypeResponse, "a response within the credit is passed")
		assert.Equal(t, second, e.number)
		assert.Equal(t, large, e.resp.Data)
		p.wantQuiet("there is no credit for the second response")
		p.release(e)
		assert.Equal(t, first, p.wantFrame(packet.TypeResponse, "now there is").number)
		p.check()
	}
}
