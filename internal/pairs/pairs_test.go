package pairs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

func TestEncodeAndDecode(t *testing.T) {
	many := map[string][]string{}
	for i := range 100 {
		many[fmt.Sprintf("key-%02d", i)] = []string{strings.Repeat("v", i)}
	}
	for _, md := range []map[string][]string{
		{"k": {"v"}},
		{"b": {"2", "", "1"}, "a": {"\x00\xff"}},
		{strings.Repeat("k", MaxKey): {strings.Repeat("v", MaxValue)}},
		many,
	} {
		l := Encode(md)
		require.True(t, l.Framed())
		require.Equal(t, md, l.Decode())
		require.Equal(t, l, Encode(l.Decode()), "the same order each time")
		require.Empty(t, l.Check())
		for n := range min(len(l), 100) {
			cut := l[:len(l)-1-n]
			require.Equal(t, len(cut), len(Encode(cut.Decode()))+len(cut)-complete(cut))
			require.Equal(t, complete(cut) == len(cut), cut.Framed())
		}
	}
	assert.Nil(t, Encode(nil))
	assert.Nil(t, Encode(map[string][]string{"k": {}}))
	assert.Nil(t, List(nil).Decode())
	assert.True(t, List(nil).Framed())
}

// complete returns the length of the complete pairs of l.
func complete(l List) (n int) {
	for key, value := range l.All() {
		n += Overhead + len(key) + len(value)
	}
	return n
}

// Values of one key do not overwrite those of another one when they are appended to.
func TestDecodedValuesAreSeparate(t *testing.T) {
	md := List{}.Append("a", "1").Append("b", "2").Append("a", "3").Decode()
	require.Equal(t, map[string][]string{"a": {"1", "3"}, "b": {"2"}}, md)
	md["b"] = append(md["b"], "x")
	md["a"] = append(md["a"], "y")
	require.Equal(t, map[string][]string{"a": {"1", "3", "y"}, "b": {"2", "x"}}, md)
}

func TestLimits(t *testing.T) {
	l := List{}.Append("small", "v").Append("large", "value")
	require.NoError(t, l.CheckSize(uint64(len(l))))
	err := l.CheckSize(uint64(len(l)) - 1)
	require.EqualError(t, err, `metadata, most of it in key "large": too large: 22 exceeds 21`)
	require.ErrorIs(t, err, geminio.ErrTooLarge)
	require.Equal(t, "key \"\"", List{}.Append("", "v").largest())

	for range MaxPairs - 2 {
		l = l.Append("k", "")
	}
	require.NoError(t, l.CheckCount())
	require.ErrorIs(t, l.Append("k", "").CheckCount(), geminio.ErrTooMany)
}

func TestAnswer(t *testing.T) {
	var a Answer
	a.Set(map[string][]string{"a": {"1"}, "b": {"2"}}, nil)
	a.Set(map[string][]string{"b": {"3", "4"}}, nil)
	a.Set(nil, nil)
	l, err := a.Get()
	require.NoError(t, err)
	require.Equal(t, map[string][]string{"a": {"1"}, "b": {"3", "4"}}, l.Decode())
	bad := fmt.Errorf("bad")
	a.Set(map[string][]string{"c": {"5"}}, bad)
	a.Set(map[string][]string{"d": {"6"}}, nil)
	_, err = a.Get()
	require.Equal(t, bad, err, "the first error stays")

	var many Answer
	for i := range 2 {
		many.Set(map[string][]string{fmt.Sprint(i): make([]string, 600)}, nil)
	}
	_, err = many.Get()
	require.ErrorIs(t, err, geminio.ErrTooMany)
}
