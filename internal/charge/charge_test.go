package charge

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/packet"
)

func TestFor(t *testing.T) {
	const small = 100
	for _, test := range []struct {
		typ    packet.Type
		size   int
		want   Charge
		shared bool
	}{
		{packet.TypeRequest, small, Charge{Handlers: 1}, true},
		{packet.TypeRequest, small + 1, Charge{1, packet.ClassLargeRequests, small + 1}, true},
		{packet.TypeRegister, small, Charge{Handlers: 1}, true},
		{packet.TypeRegister, small + 1, Charge{Handlers: 1}, true},
		{packet.TypeMessage, 0, Charge{0, packet.ClassMessages, MessageOverhead}, false},
		{packet.TypeMessage, small, Charge{0, packet.ClassMessages, small + MessageOverhead}, false},
		{packet.TypeMessage, small + 1, Charge{0, packet.ClassLargeMessages, small + 1}, true},
		{packet.TypeResponse, small, Charge{}, false},
		{packet.TypeResponse, small + 1, Charge{0, packet.ClassLargeResponses, small + 1}, true},
		{packet.TypeAck, small + 1, Charge{}, false},
		{packet.TypeCancel, 0, Charge{}, false},
		{packet.TypeAbandon, 1, Charge{}, false},
	} {
		c := For(test.typ, test.size, small)
		assert.Equal(t, test.want, c, "charge of %v of %d bytes", test.typ, test.size)
		assert.Equal(t, test.shared, c.Shared(), "Shared of %v of %d bytes", test.typ, test.size)
		for class := range packet.Classes {
			want := uint32(0)
			if class == packet.ClassHandlers {
				want = c.Handlers
			} else if class == c.Class {
				want = c.Bytes
			}
			assert.Equal(t, want, c.Amount(class), "amount of %v in %v of %d bytes", class, test.typ, test.size)
		}
	}
}

func TestMaxSmall(t *testing.T) {
	for _, test := range []struct {
		name            string
		messages, frame uint32
		want            int
	}{
		{"the bound of all offers", 1 << 20, 1 << 20, 8 << 10},
		{"half of the window for messages", 4 << 10, 1 << 20, 2<<10 - MessageOverhead},
		{"one frame", 1 << 20, 1 << 10, 1<<10 - packet.FragmentLen},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := packet.Settings{Messages: test.messages, MaxFrame: test.frame}
			got := MaxSmall(w)
			assert.Equal(t, test.want, got)
			c := For(packet.TypeMessage, got, got)
			assert.LessOrEqual(t, 2*c.Bytes, test.messages, "the largest small message costs more than half of the window")
		})
	}
}
