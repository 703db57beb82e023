package geminio

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// coded is an error of an application with a code.
type coded Code

func (c coded) Error() string { return "coded" }
func (c coded) Code() Code    { return Code(c) }

func TestCodeOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Code
	}{
		{nil, CodeOK},
		{errors.New("own"), CodeApplication},
		{coded(0), CodeApplication},
		{coded(1), CodeApplication},
		{coded(CodeTooLarge), CodeTooLarge},
		{coded(CodeVersion), CodeApplication},
		{coded(CodeInvalid), CodeInvalid},
		{coded(14), CodeApplication},
		{coded(999), CodeApplication},
		{coded(1000), 1000},
		{coded(1<<32 - 1), 1<<32 - 1},
		{fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", coded(1001))), 1001},
		{fmt.Errorf("%w and %w", coded(999), coded(1002)), 1002},
		{errors.Join(errors.New("own"), context.Canceled), CodeCanceled},
		{errors.Join(coded(0), context.DeadlineExceeded), CodeDeadline},
		{&RemoteError{Code: 1003}, 1003},
		{&RefusedError{Code: CodeLimit}, CodeLimit},
		{&StreamError{Code: 1004}, 1004},
		{&InterruptedError{Cause: coded(1005)}, CodeApplication},
		{&LimitError{Err: ErrTooLarge}, CodeTooLarge},
		{ErrTooMany, CodeLimit},
	} {
		assert.Equal(t, c.want, CodeOf(c.err), "%#v", c.err)
	}
}
