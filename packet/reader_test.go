package packet

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestReader checks that no field is read after the first missing one, even if there are bytes
// for it.
func TestReader(t *testing.T) {
	r := reader{b: unhex(t, "01 0203 04050607 08090a0b0c0d0e0f 1011")}
	assert.Equal(t, uint8(0x01), r.u8())
	assert.Equal(t, uint16(0x0203), r.u16())
	assert.Equal(t, uint32(0x04050607), r.u32())
	assert.Equal(t, uint64(0x08090a0b0c0d0e0f), r.u64())
	assert.NoError(t, r.err("test", 17))

	assert.Zero(t, r.u32())
	assert.Zero(t, r.u8())
	assert.Zero(t, r.u16())
	assert.Zero(t, r.u64())
	assert.Empty(t, r.bytes(1))
	assert.Empty(t, r.rest())
	assert.EqualError(t, r.err("test", 17), "malformed test: a field goes beyond the end at 17 bytes")
}
