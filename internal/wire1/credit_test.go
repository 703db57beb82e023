package wire1

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/packet"
)

// Credit is granted again when the transport of the peer has taken the data.
func TestPushBack(t *testing.T) {
	bothSides(t, func(t *testing.T, p *pair) {
		number, _ := p.opened()
		p.hold = true
		s := p.conn.streams[number]
		p.data(number, 0, strings.Repeat("x", int(s.have[packet.ClassRaw])))
		assert.Zero(t, s.have[packet.ClassRaw])
		small := make([]byte, 1000)
		for {
			p.conn.numbers++
			m := packet.Message{Cnss: 2}
			b := p.conn.send(s, packet.TypeMessage, p.conn.numbers, m.Append(nil), small)
			if b == nil {
				break
			}
			p.frame(b)
		}
		p.check()
		p.hold = false
		p.settle()
		assert.EqualValues(t, Offer().Raw, s.have[packet.ClassRaw])
		assert.Greater(t, s.have[packet.ClassMessages], uint64(Offer().Messages/2))
		p.check()
	})
}
