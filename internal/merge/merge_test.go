package merge

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Nested is embedded, as limits are.
type Nested struct{ Limit, Other int }

type options struct {
	Name  *string
	Bytes []byte
	Check bool
	Size  int `merge:"positive"`
	Any   any
	Hook  func()
	List  []int `merge:"append"`
	Nested
}

func TestMerge(t *testing.T) {
	one, two := "one", ""
	a := &options{Name: &one, Bytes: []byte{1}, Size: 5, Any: 1, Nested: Nested{Limit: 1, Other: 2}}
	b := &options{Name: &two, Check: true, Size: -1, Hook: func() {}, Nested: Nested{Limit: -3}}
	m := Merge(nil, a, nil, b, &options{})
	assert.Same(t, &two, m.Name, "the last one, though its text is empty")
	assert.Equal(t, []byte{1}, m.Bytes)
	assert.True(t, m.Check)
	assert.Equal(t, 5, m.Size, "a negative one does not count")
	assert.Equal(t, 1, m.Any)
	assert.NotNil(t, m.Hook)
	assert.Equal(t, Nested{Limit: -3, Other: 2}, m.Nested, "field by field")
	assert.Equal(t, &options{Name: &one, Bytes: []byte{1}, Size: 5, Any: 1, Nested: Nested{Limit: 1, Other: 2}}, a, "unchanged")

	assert.Equal(t, &options{}, Merge[options]())
	assert.NotSame(t, a, Merge(a))
}

func TestMergeAppends(t *testing.T) {
	a := &options{List: append(make([]int, 0, 10), 1, 2)}
	b := &options{List: []int{3}}
	m := Merge(a, nil, &options{}, b, a)
	assert.Equal(t, []int{1, 2, 3, 1, 2}, m.List)
	m.List[0] = 9
	assert.Equal(t, []int{1, 2, 0}, a.List[:3], "a has memory of its own")
	assert.Equal(t, []int{3}, b.List)
	assert.Nil(t, Merge(&options{List: []int{}}).List)
}
