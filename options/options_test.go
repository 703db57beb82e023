package options

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// ptr makes the pointers that optional fields hold.
func ptr[T any](v T) *T { return &v }

func TestConstructorsSetNothing(t *testing.T) {
	assert.Equal(t, &CallOptions{}, Call())
	assert.Equal(t, &PublishOptions{}, Publish())
	assert.Equal(t, &NewRequestOptions{}, NewRequest())
	assert.Equal(t, &NewMessageOptions{}, NewMessage())
	assert.Equal(t, &OpenStreamOptions{}, OpenStream())
	assert.Equal(t, &HijackOptions{}, Hijack())
}

func TestSetters(t *testing.T) {
	call := Call()
	call.SetTimeout(time.Second)
	assert.Equal(t, &CallOptions{Timeout: ptr(time.Second)}, call)

	publish := Publish()
	publish.SetTimeout(time.Minute)
	assert.Equal(t, &PublishOptions{Timeout: ptr(time.Minute)}, publish)

	request := NewRequest()
	request.SetCustom([]byte("c"))
	assert.Equal(t, &NewRequestOptions{Custom: []byte("c")}, request)

	message := NewMessage()
	message.SetCustom([]byte("c"))
	message.SetCnss(CnssAtMostOnce)
	message.SetTopic("t")
	assert.Equal(t, &NewMessageOptions{
		Custom: []byte("c"), Cnss: ptr(CnssAtMostOnce), Topic: ptr("t"),
	}, message)

	stream := OpenStream()
	stream.SetMeta([]byte("m"))
	stream.SetPeer("p")
	assert.Equal(t, &OpenStreamOptions{Meta: []byte("m"), Peer: ptr("p")}, stream)

	hijack := Hijack()
	hijack.SetMatch(false, "^a")
	assert.Equal(t, &HijackOptions{Match: ptr(false), Pattern: ptr("^a")}, hijack)
}

// mergeCase is what every Merge function has to satisfy: first and second set
// overlapping fields, want is the two merged in that order.
type mergeCase[T any] struct {
	merge               func(...*T) *T
	first, second, want func() *T
}

func (c mergeCase[T]) run(t *testing.T) {
	t.Helper()
	assert.Equal(t, new(T), c.merge(), "nothing to merge")
	assert.Equal(t, new(T), c.merge(nil, nil), "only nil entries")
	assert.Equal(t, c.first(), c.merge(c.first(), new(T)), "an empty entry changes nothing")

	first, second := c.first(), c.second()
	merged := c.merge(nil, first, nil, second, nil)
	assert.Equal(t, c.want(), merged, "later fields win, earlier ones stay")
	assert.Equal(t, c.first(), first, "the first entry is not changed")
	assert.Equal(t, c.second(), second, "the second entry is not changed")

	alone := c.merge(first)
	assert.NotSame(t, first, alone, "the result is a new value")
}

func TestMerge(t *testing.T) {
	t.Run("call", mergeCase[CallOptions]{
		merge:  MergeCallOptions,
		first:  func() *CallOptions { return &CallOptions{Timeout: ptr(time.Second)} },
		second: func() *CallOptions { return &CallOptions{Timeout: ptr(time.Duration(0))} },
		want:   func() *CallOptions { return &CallOptions{Timeout: ptr(time.Duration(0))} },
	}.run)
	t.Run("publish", mergeCase[PublishOptions]{
		merge:  MergePublishOptions,
		first:  func() *PublishOptions { return &PublishOptions{Timeout: ptr(time.Second)} },
		second: func() *PublishOptions { return &PublishOptions{Timeout: ptr(time.Duration(0))} },
		want:   func() *PublishOptions { return &PublishOptions{Timeout: ptr(time.Duration(0))} },
	}.run)
	t.Run("request", mergeCase[NewRequestOptions]{
		merge:  MergeNewRequestOptions,
		first:  func() *NewRequestOptions { return &NewRequestOptions{Custom: []byte("a")} },
		second: func() *NewRequestOptions { return &NewRequestOptions{Custom: []byte{}} },
		want:   func() *NewRequestOptions { return &NewRequestOptions{Custom: []byte{}} },
	}.run)
	t.Run("message", mergeCase[NewMessageOptions]{
		merge: MergeNewMessageOptions,
		first: func() *NewMessageOptions {
			return &NewMessageOptions{Custom: []byte("a"), Cnss: ptr(CnssAtMostOnce), Topic: ptr("x")}
		},
		second: func() *NewMessageOptions {
			return &NewMessageOptions{Cnss: ptr(CnssAtLeastOnce), Topic: ptr("")}
		},
		want: func() *NewMessageOptions {
			return &NewMessageOptions{Custom: []byte("a"), Cnss: ptr(CnssAtLeastOnce), Topic: ptr("")}
		},
	}.run)
	t.Run("stream", mergeCase[OpenStreamOptions]{
		merge:  MergeOpenStreamOptions,
		first:  func() *OpenStreamOptions { return &OpenStreamOptions{Meta: []byte("a"), Peer: ptr("x")} },
		second: func() *OpenStreamOptions { return &OpenStreamOptions{Peer: ptr("")} },
		want:   func() *OpenStreamOptions { return &OpenStreamOptions{Meta: []byte("a"), Peer: ptr("")} },
	}.run)
	t.Run("hijack", mergeCase[HijackOptions]{
		merge:  MergeHijackOptions,
		first:  func() *HijackOptions { return &HijackOptions{Match: ptr(true), Pattern: ptr("a")} },
		second: func() *HijackOptions { return &HijackOptions{Match: ptr(false)} },
		want:   func() *HijackOptions { return &HijackOptions{Match: ptr(false), Pattern: ptr("a")} },
	}.run)
}

func TestSetterOnMergedLeavesEntriesAlone(t *testing.T) {
	entry := Call()
	entry.SetTimeout(time.Second)
	merged := MergeCallOptions(entry)
	merged.SetTimeout(time.Hour)
	assert.Equal(t, time.Second, *entry.Timeout)
}

func TestCnss(t *testing.T) {
	assert.Equal(t, 1, int(CnssAtMostOnce))
	assert.Equal(t, 2, int(CnssAtLeastOnce))
	assert.Equal(t, "at most once", CnssAtMostOnce.String())
	assert.Equal(t, "at least once", CnssAtLeastOnce.String())
	assert.Equal(t, "cnss(0)", Cnss(0).String())
}
