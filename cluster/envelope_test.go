package cluster

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
)

var requests = []request{
	{},
	{kind: publishKind, client: math.MaxUint64, timeout: math.MaxInt64, cnss: options.CnssAtMostOnce, name: "m", custom: []byte("c")},
	{kind: broadcastKind, group: "room", name: "said"},
	{client: 7, timeout: time.Second, name: strings.Repeat("x", 300), md: metadata.Pairs("a", "1", "a", "2", "b", ""), data: []byte("data")},
}

var answers = []answer{
	{},
	{status: failed, code: math.MaxUint32, text: "no", custom: []byte("c"), data: []byte("data")},
	{status: absent, md: metadata.Pairs("k", "v")},
}

func TestRequestOnTheWay(t *testing.T) {
	for _, want := range requests {
		header, data, err := unframe(frame(want.appendHeader(nil), want.data))
		require.NoError(t, err)
		if len(data) == 0 {
			data = nil
		}
		got, err := parseRequest(header, data)
		require.NoError(t, err)
		assert.Equal(t, &want, got)
		for n := range header {
			_, err := parseRequest(header[:n], nil)
			assert.Equal(t, errEnvelope, err, "the first %d bytes", n)
		}
		_, err = parseRequest(append(header, 0), nil)
		assert.Equal(t, errEnvelope, err, "a byte too many")
		header[0]++
		_, err = parseRequest(header, nil)
		assert.Equal(t, errEnvelope, err, "another version")
	}
	_, err := parseRequest((&request{kind: broadcastKind + 1}).appendHeader(nil), nil)
	assert.Equal(t, errEnvelope, err)
	_, _, err = unframe([]byte{5, 1})
	assert.Equal(t, errEnvelope, err)
}

// TestNodesAnswerBroadcastsInTime compares the time that a node has for a broadcast with that of the broadcast.
func TestNodesAnswerBroadcastsInTime(t *testing.T) {
	for all, want := range map[time.Duration]time.Duration{0: 0, 1: 1, time.Second: 900 * time.Millisecond, time.Hour: time.Hour - time.Second} {
		assert.Equal(t, want, withAnswer(all))
	}
}

func TestAnswerOnTheWay(t *testing.T) {
	for _, want := range answers {
		header := want.appendHeader(nil)
		got, err := parseAnswer(header, want.data)
		require.NoError(t, err)
		assert.Equal(t, &want, got)
		for n := range header {
			_, err := parseAnswer(header[:n], nil)
			assert.Equal(t, errEnvelope, err, "the first %d bytes", n)
		}
	}
	_, err := parseAnswer((&answer{status: absent + 1}).appendHeader(nil), nil)
	assert.Equal(t, errEnvelope, err)
}

// TestErrorsOnTheWay checks what errors of an operation become at its caller.
func TestErrorsOnTheWay(t *testing.T) {
	at := func(err error) error { return answerFor(err).err() }
	assert.NoError(t, at(nil))
	assert.Equal(t, &geminio.RemoteError{Code: 1234, Text: "no"}, at(&geminio.RemoteError{Code: 1234, Text: "no"}))
	for _, err := range []error{
		context.Canceled, context.DeadlineExceeded, geminio.ErrTooLarge, geminio.ErrTooMany, geminio.ErrGoingAway,
	} {
		assert.ErrorIs(t, at(err), err)
	}
	assert.Equal(t, geminio.CodeNoMethod, geminio.CodeOf(at(geminio.ErrRemoteRPCUnregistered)))
	for _, maybe := range []bool{false, true} {
		err := at(&geminio.InterruptedError{MaybeExecuted: maybe, Cause: geminio.ErrReplaced})
		assert.Equal(t, maybe, errors.Is(err, geminio.ErrMaybeExecuted))
		assert.Equal(t, !maybe, errors.Is(err, geminio.ErrNotExecuted))
		assert.ErrorIs(t, err, geminio.ErrReplaced)
	}
	assert.Equal(t, ErrClientOffline, (&answer{status: absent}).err())
}

func FuzzParseRequest(f *testing.F) {
	for _, r := range requests {
		f.Add(frame(r.appendHeader(nil), r.data))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		header, data, err := unframe(b)
		if err != nil {
			return
		}
		r, err := parseRequest(header, data)
		if err != nil {
			return
		}
		again, err := parseRequest(r.appendHeader(nil), data)
		require.NoError(t, err)
		assert.Equal(t, r, again)
	})
}

func FuzzParseAnswer(f *testing.F) {
	for _, a := range answers {
		f.Add(a.appendHeader(nil))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		a, err := parseAnswer(header, nil)
		if err != nil {
			return
		}
		again, err := parseAnswer(a.appendHeader(nil), nil)
		require.NoError(t, err)
		assert.Equal(t, a, again)
	})
}
