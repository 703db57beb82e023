package inspect

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPositionRoundTrip(t *testing.T) {
	for _, p := range []position{
		{},
		{number: math.MaxUint64, row: rowID{math.MaxUint64, 1, 2, math.MaxUint64}},
		{text: "a.b<script>\x00\xff\u202e", row: rowID{0, 7}},
	} {
		got, err := parsePosition(p.String())
		require.NoError(t, err)
		assert.Equal(t, p, got)
	}
}

func TestPositionsThatAreMalformed(t *testing.T) {
	for _, s := range []string{"", ".", "1.2.3.4.5", "1.2.3.4.5.!", "-1.2.3.4.5.", "1.2.3.4.5.6.7", "1.x!.3.4.5.", "zzzzzzzzzzzzzzz.1.1.1.1."} {
		_, err := parsePosition(s)
		assert.ErrorIs(t, err, errPosition, s)
	}
}

// A position that can be parsed is the same again after a round trip.
func FuzzPosition(f *testing.F) {
	f.Add("1.2.3.4.5.YQ")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePosition(s)
		if err != nil {
			return
		}
		again, err := parsePosition(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}
