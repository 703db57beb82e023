package application

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// epoch is any time.
var epoch = time.Now()

func TestNoObserver(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	assert.Nil(t, NewObserver(log, nil))
	assert.Nil(t, NewObserver(log, make([]geminio.Stats, 3)))
	o := NewObserver(log, []geminio.Stats{{}, {ConnEnd: func(geminio.ConnEvent) {}}})
	require.NotNil(t, o)
	assert.False(t, o.Calls())
	assert.False(t, o.Messages())
	var none *Observer
	assert.False(t, none.Calls())
	assert.False(t, none.Messages())
}

func TestClassesOfErrors(t *testing.T) {
	for want, errs := range map[geminio.Code][]error{
		geminio.CodeApplication: {errors.New("any"), &geminio.RemoteError{Code: geminio.CodeApplication, Text: io.EOF.Error()}},
		geminio.CodeCanceled:    {context.Canceled, fmt.Errorf("it was %w", context.Canceled)},
		geminio.CodeDeadline:    {context.DeadlineExceeded, geminio.ErrHandshakeTimeout},
		geminio.CodeNoMethod:    {geminio.ErrRemoteRPCUnregistered, &geminio.RemoteError{Code: geminio.CodeNoMethod}},
		geminio.CodeGoingAway:   {geminio.ErrGoingAway, &geminio.RefusedError{Code: geminio.CodeGoingAway}},
		geminio.CodeReplaced:    {geminio.ErrReplaced},
		geminio.CodeVersion:     {geminio.ErrVersion},
		geminio.CodeProtocol:    {fmt.Errorf("%w: bad", geminio.ErrProtocol)},
		geminio.CodeClosed: {
			io.EOF, &geminio.InterruptedError{Cause: context.Canceled}, geminio.ErrNotConnected, &geminio.StreamError{Code: geminio.CodeClosed},
		},
		geminio.CodeTooLarge: {&geminio.LimitError{Err: geminio.ErrTooLarge}},
		1007:                 {&geminio.RemoteError{Code: 1007}},
	} {
		for _, err := range errs {
			assert.Equal(t, want, classify(err, geminio.CodeApplication), "%v", err)
		}
	}
	assert.Equal(t, geminio.CodeClosed, classify(net.ErrClosed, geminio.CodeClosed))
}

// Each function gets the event, also if one before it panics.
func TestFunctionsThatPanic(t *testing.T) {
	called := 0
	bad := geminio.Stats{CallEnd: func(geminio.CallEvent) { called++; panic("of the user") }}
	o := NewObserver(slog.New(slog.DiscardHandler), []geminio.Stats{bad, {}, bad, {CallEnd: func(geminio.CallEvent) { called++ }}})
	o.EndCall(&geminio.CallEvent{})
	assert.Equal(t, 3, called)
}

// A call ends also if a method of the user panics amid it.
func TestOperationsThatPanic(t *testing.T) {
	var ends []geminio.Outcome
	o := NewObserver(slog.New(slog.DiscardHandler), []geminio.Stats{{
		CallEnd:    func(ev geminio.CallEvent) { ends = append(ends, ev.Outcome) },
		MessageEnd: func(ev geminio.MessageEvent) { ends = append(ends, ev.Outcome) },
	}})
	ctx, req, msg := t.Context(), &request{}, &message{}
	assert.Panics(t, func() {
		o.Call(ctx, nil, nil, "m", req, epoch, func() (geminio.Response, error) { panic("amid a call") })
	})
	assert.Panics(t, func() {
		o.StartCall(ctx, nil, nil, "m", req, epoch, func(func(geminio.Response, error)) error { panic("amid a call") }, nil)
	})
	assert.Panics(t, func() { o.Publish(ctx, nil, nil, msg, func() error { panic("amid a publication") }) })
	assert.Panics(t, func() {
		o.StartPublish(ctx, nil, nil, msg, func(func(error)) error { panic("amid a publication") }, nil)
	})
	require.Len(t, ends, 4)
	for _, end := range ends {
		assert.Equal(t, geminio.Outcome{Code: geminio.CodeApplication, Err: errNotReturned}, end)
	}
}

// The memory of an idle stream does not grow: a Stream fits the size class of 80 bytes.
func TestSizeOfAStream(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) == 8 {
		assert.LessOrEqual(t, unsafe.Sizeof(Stream{}), uintptr(80))
	}
}

// The oldest calls are kept, in their order, in bounded memory.
func TestOldestCalls(t *testing.T) {
	all := oldest{limit: 10}
	for i := range 1000 {
		all.add(geminio.CallSnapshot{Number: uint64(i), Begin: epoch.Add(-time.Second * time.Duration(i%500))})
		require.Less(t, len(all.calls), 100)
	}
	got := all.get()
	require.Len(t, got, 10)
	for i, c := range got {
		assert.EqualValues(t, 499-i/2, c.Number%500)
	}
	every := oldest{}
	for range 200 {
		every.add(geminio.CallSnapshot{})
	}
	assert.Len(t, every.get(), 200)
}
