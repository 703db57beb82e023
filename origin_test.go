package geminio

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
)

// owned is a stream of an End.
type owned struct {
	Stream
	end End
}

func (o owned) End() End { return o.end }

// received is a message of a stream.
type received struct {
	Message
	s Stream
}

func (r received) Stream() Stream { return r.s }

func TestWithStream(t *testing.T) {
	type key struct{}
	e := plain{}
	s := owned{end: e}
	ctx, cancel := context.WithCancel(WithStream(context.WithValue(t.Context(), key{}, "value"), s))
	defer cancel()
	got, ok := StreamFrom(ctx)
	assert.True(t, ok)
	assert.Equal(t, s, got)
	end, ok := EndFrom(ctx)
	assert.True(t, ok)
	assert.Equal(t, e, end)
	assert.Equal(t, "value", ctx.Value(key{}))

	end, ok = EndFrom(WithStream(t.Context(), e))
	assert.True(t, ok, "an End is its own default stream")
	assert.Equal(t, e, end)

	inner := struct{ Stream }{}
	ctx = WithStream(ctx, inner)
	got, ok = StreamFrom(ctx)
	assert.True(t, ok)
	assert.Equal(t, inner, got, "the last one counts")
	_, ok = EndFrom(ctx)
	assert.False(t, ok, "a stream that does not know its End")
}

func TestOwners(t *testing.T) {
	s := owned{}
	_, ok := EndOf(s)
	assert.False(t, ok)
	_, ok = EndOf(nil)
	assert.False(t, ok)
	_, ok = StreamOf(received{})
	assert.False(t, ok)
	_, ok = StreamOf(struct{ Message }{})
	assert.False(t, ok)
	_, ok = StreamOf(nil)
	assert.False(t, ok)
	got, ok := StreamOf(received{s: s})
	assert.True(t, ok)
	assert.Equal(t, s, got)
}
