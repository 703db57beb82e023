package metadata

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

func TestMD(t *testing.T) {
	md := New(map[string]string{"A": "1", "a": "2", "b": "3"})
	assert.Equal(t, MD{"a": {"1", "2"}, "b": {"3"}}, md, "in the order of the keys as they were")
	md = Pairs("A", "1", "b", "2", "a", "3")
	assert.Equal(t, MD{"a": {"1", "3"}, "b": {"2"}}, md)
	assert.Equal(t, []string{"1", "3"}, md.Get("A"))
	assert.Equal(t, 2, md.Len())
	assert.Equal(t, 3*5, md.Size())

	c := md.Copy()
	c.Append("A", "4", "5")
	c.Append("x")
	c.Set("B", "6")
	c["a"][0] = "changed"
	assert.Equal(t, MD{"a": {"changed", "3", "4", "5"}, "b": {"6"}}, c)
	assert.Equal(t, MD{"a": {"1", "3"}, "b": {"2"}}, md, "the original")
	c.Delete("A")
	c.Set("B")
	assert.Empty(t, c)
	assert.Equal(t, MD{"a": {"1", "3", "1"}, "b": {"2"}, "c": {"4"}}, Join(md, nil, MD{"A": {"1"}, "c": {"4"}}))
	assert.Nil(t, MD(nil).Get("a"))
	assert.Zero(t, MD(nil).Size())
	assert.NoError(t, MD(nil).Validate())
	for _, odd := range [][]string{{"a"}, {"a", "b", "c"}} {
		assert.Panics(t, func() { Pairs(odd...) })
		assert.Panics(t, func() { AppendToOutgoingContext(t.Context(), odd...) })
	}

	shared := MD{"a": append(make([]string, 0, 10), "1")}
	first, second := Join(shared), Join(shared)
	first.Append("a", "2")
	second.Append("a", "3")
	assert.Equal(t, []string{"1", "2"}, first.Get("a"), "no memory is shared")
}

func TestOutgoing(t *testing.T) {
	_, ok := FromOutgoingContext(t.Context())
	assert.False(t, ok)
	md := Pairs("a", "1")
	one := NewOutgoingContext(t.Context(), md)
	md.Set("a", "changed")
	two := AppendToOutgoingContext(one, "A", "2", "b", "3")
	three := AppendToOutgoingContext(two)
	other := AppendToOutgoingContext(one, "c", "4")
	for ctx, want := range map[context.Context]MD{
		one: {"a": {"1"}}, two: {"a": {"1", "2"}, "b": {"3"}}, three: {"a": {"1", "2"}, "b": {"3"}}, other: {"a": {"1"}, "c": {"4"}},
	} {
		got, ok := FromOutgoingContext(ctx)
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	_, ok = FromOutgoingContext(NewOutgoingContext(two, nil))
	assert.False(t, ok, "after a replacement by nothing")
	bad := AppendToOutgoingContext(AppendToOutgoingContext(one, "a b", ""), "a", "1")
	_, ok = FromOutgoingContext(bad)
	assert.False(t, ok)
	got, ok := FromOutgoingContext(NewOutgoingContext(bad, Pairs("a", "1")))
	assert.True(t, ok, "after a replacement of what is not valid")
	assert.Equal(t, MD{"a": {"1"}}, got)
}

func TestIncoming(t *testing.T) {
	_, ok := FromIncomingContext(t.Context())
	assert.False(t, ok)
	ctx := NewIncomingContext(t.Context(), MD{"a": {"1", "2"}, "Bad": {"3"}})
	md, ok := FromIncomingContext(ctx)
	assert.True(t, ok)
	assert.Equal(t, MD{"a": {"1", "2"}}, md)
	assert.Equal(t, []string{"1", "2"}, ValueFromIncomingContext(ctx, "A"))
	md.Set("a", "changed")
	md, _ = FromIncomingContext(ctx)
	assert.Equal(t, MD{"a": {"1", "2"}}, md, "the result is a copy")
}

func TestValidate(t *testing.T) {
	require.NoError(t, Pairs("a-z_0.9", strings.Repeat("\x00", 65535), strings.Repeat("k", 255), "").Validate())
	for key, want := range map[string]string{
		"":                       `metadata: key "": the key is empty`,
		"K":                      `metadata: key "K": the key has the upper-case letter 'K'`,
		"k\n":                    `metadata: key "k\n": the key has the character '\n'; letters from a to z, digits, -, _ and . are allowed`,
		strings.Repeat("k", 256): `metadata: key "` + strings.Repeat("k", 40) + `": the key has 256 bytes, at most 255 are allowed`,
	} {
		err := MD{key: {""}}.Validate()
		var bad *Error
		require.ErrorAs(t, err, &bad)
		assert.Equal(t, key, bad.Key)
		assert.EqualError(t, err, want)
	}
	assert.NoError(t, MD{"K": nil}.Validate(), "a key without values is not sent")
	assert.ErrorIs(t, MD{"k": {strings.Repeat("v", 65536)}}.Validate(), geminio.ErrTooLarge)
	assert.ErrorIs(t, MD{"k": make([]string, 1025)}.Validate(), geminio.ErrTooMany)
	assert.NoError(t, MD{"k": make([]string, 1024)}.Validate())
}

// carrier has metadata.
type carrier struct{}

func (carrier) Metadata() MD { return Pairs("k", "v") }

func TestFrom(t *testing.T) {
	assert.Equal(t, MD{"k": {"v"}}, From(carrier{}))
	assert.Nil(t, From(7))
	assert.Nil(t, From(nil))
}
