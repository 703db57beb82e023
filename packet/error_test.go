package packet

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unhex decodes hex digits, among which there may be white space.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	require.NoError(t, err)
	return b
}

// requireMalformed checks that err is an *Error about the packet what, and that
// its text has all parts.
func requireMalformed(t testing.TB, err error, what string, parts ...string) {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, what, e.What)
	for _, part := range parts {
		require.ErrorContains(t, err, part)
	}
}

func TestError(t *testing.T) {
	err := malformed("request", "%d of %d", 3, 4)
	assert.EqualError(t, err, "malformed request: 3 of 4")
	assert.NotErrorIs(t, err, ErrPacketTooLarge)
	assert.NoError(t, errors.Unwrap(err))

	err = tooLarge("conn", 70000, 65536)
	assert.EqualError(t, err, "malformed conn: length 70000 exceeds 65536")
	assert.ErrorIs(t, err, ErrPacketTooLarge)
}
