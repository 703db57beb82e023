package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// coded is an error of the application.
type coded geminio.Code

func (c coded) Error() string      { return "coded" }
func (c coded) Code() geminio.Code { return geminio.Code(c) }

func TestDescribe(t *testing.T) {
	remote := &geminio.RemoteError{Code: 1005, Text: "inner"}
	for _, test := range []struct {
		err  error
		code geminio.Code
		text string
	}{
		{errors.New("own"), geminio.CodeApplication, "own"},
		{coded(1000), 1000, "coded"},
		{coded(1<<32 - 1), 1<<32 - 1, "coded"},
		{fmt.Errorf("outer: %w", coded(1001)), 1001, "outer: coded"},
		{errors.Join(io.EOF, fmt.Errorf("outer: %w", coded(1002))), 1002, "EOF\nouter: coded"},
		{coded(geminio.CodeOK), geminio.CodeApplication, "coded"},
		{coded(geminio.CodeNoMethod), geminio.CodeNoMethod, "coded"},
		{coded(geminio.CodeTooLarge), geminio.CodeTooLarge, "coded"},
		{coded(geminio.CodeInvalid), geminio.CodeInvalid, "coded"},
		{coded(geminio.CodeVersion), geminio.CodeApplication, "coded"},
		{coded(geminio.CodeGoingAway), geminio.CodeApplication, "coded"},
		{coded(geminio.CodeReplaced), geminio.CodeApplication, "coded"},
		{coded(14), geminio.CodeApplication, "coded"},
		{coded(999), geminio.CodeApplication, "coded"},
		{remote, 1005, "inner"},
		{fmt.Errorf("outer: %w", remote), 1005, "outer: inner"},
		{&geminio.RemoteError{Code: geminio.CodeGoingAway, Text: "x"}, geminio.CodeGoingAway, "x"},
		{&geminio.RemoteError{Code: 500, Text: "x"}, 500, "x"},
		{&geminio.RemoteError{Text: "no code"}, geminio.CodeApplication, "no code"},
		{&geminio.RefusedError{Code: 1006, Text: "x"}, 1006, "x"},
		{&geminio.StreamError{Code: 1007, Text: "x"}, 1007, "stream reset: x"},
		{context.Canceled, geminio.CodeCanceled, "context canceled"},
		{context.DeadlineExceeded, geminio.CodeDeadline, "context deadline exceeded"},
		{fmt.Errorf("outer: %w", context.DeadlineExceeded), geminio.CodeDeadline, "outer: context deadline exceeded"},
		{fmt.Errorf("%w: %w", coded(1), context.Canceled), geminio.CodeCanceled, "coded: context canceled"},
		{os.ErrDeadlineExceeded, geminio.CodeApplication, "i/o timeout"},
		{geminio.ErrTooMany, geminio.CodeLimit, "too many"},
		{&geminio.LimitError{What: "x", Value: 2, Limit: 1, Err: geminio.ErrTooLarge}, geminio.CodeTooLarge, "x: too large: 2 exceeds 1"},
		{geminio.ErrGoingAway, geminio.CodeApplication, "shutting down"},
		{&geminio.InterruptedError{Cause: remote}, geminio.CodeApplication, "inner: the peer has not acted on it"},
	} {
		log, logged := newLog()
		assert.Equal(t, packet.Reason{Code: uint32(test.code), Text: test.text}, Describe(log, test.err), "%#v", test.err)
		assert.Empty(t, logged.String())
	}
}

func TestDescribeWhenToComeBack(t *testing.T) {
	log, _ := newLog()
	err := fmt.Errorf("outer: %w", &geminio.RefusedError{Text: "full", RetryAfter: time.Minute})
	assert.Equal(t, packet.Reason{Code: 1, Text: "outer: full", Retry: time.Minute}, Describe(log, err))
}

func TestDescribeErrorsThatPanic(t *testing.T) {
	for name, err := range badErrors {
		log, logged := newLog()
		n := Describe(log, err)
		assert.EqualValues(t, geminio.CodePanic, n.Code, name)
		assert.Contains(t, n.Text, "panicked", name)
		assert.Contains(t, logged.String(), "describe.go", "the stack of %s", name)
		assert.Equal(t, 1, strings.Count(logged.String(), "level=ERROR"), name)
	}
}
