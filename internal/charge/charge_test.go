package charge

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio/packet"
)

func TestFor(t *testing.T) {
	const small, own = 100, 200 // own pays bodies of up to 72 bytes
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
		{packet.TypeMessage, own - MessageOverhead, Charge{0, packet.ClassMessages, own}, false},
		{packet.TypeMessage, own - MessageOverhead + 1, Charge{0, packet.ClassLargeMessages, own + 1}, true},
		{packet.TypeMessage, small, Charge{0, packet.ClassLargeMessages, small + MessageOverhead}, true},
		{packet.TypeMessage, small + 1, Charge{0, packet.ClassLargeMessages, small + 1}, true},
		{packet.TypeResponse, small, Charge{}, false},
		{packet.TypeResponse, small + 1, Charge{0, packet.ClassLargeResponses, small + 1}, true},
		{packet.TypeAck, small + 1, Charge{}, false},
		{packet.TypeCancel, 0, Charge{}, false},
		{packet.TypeAbandon, 1, Charge{}, false},
	} {
		c := For(test.typ, test.size, small, own)
		assert.Equal(t, test.want, c, "charge of %v of %d bytes", test.typ, test.size)
		assert.Equal(t, test.shared, c.Shared(), "Shared of %v of %d bytes", test.typ, test.size)
		flags := packet.Flags(0)
		if test.typ == packet.TypeMessage && test.size > own-MessageOverhead && test.size <= small {
			flags = packet.FlagShared
		}
		assert.Equal(t, flags, c.Flags(test.size), "flags of %v of %d bytes", test.typ, test.size)
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
		name         string
		frame, small uint32
		want         int
	}{
		{"the bound of all offers", 1 << 20, 1 << 20, 8 << 10},
		{"that of the offer", 1 << 20, 500, 500},
		{"one frame", 1 << 10, 0, 1<<10 - packet.FragmentLen},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, MaxSmall(packet.Settings{Small: test.small, MaxFrame: test.frame}))
		})
	}
}

// Two messages fit into the window that pays them, whatever its size.
func TestMaxOwn(t *testing.T) {
	for _, window := range []uint32{0, 1, 255, 256, 1000, FullWindow(8 << 10), 1 << 31} {
		own := MaxOwn(window, 8<<10)
		assert.LessOrEqual(t, 2*uint32(own), window)
		for size := range 8<<10 + 1 {
			if c := For(packet.TypeMessage, size, 8<<10, own); c.Class == packet.ClassMessages && c.Bytes > window/2 {
				t.Fatalf("a message of %d bytes costs more than half of a window of %d", size, window)
			}
		}
	}
	assert.EqualValues(t, 8<<10+MessageOverhead, MaxOwn(FullWindow(8<<10), 8<<10), "all small messages")
}
