package client

import (
	"context"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

func TestRetryOptionsResolve(t *testing.T) {
	wait := func(d time.Duration) *time.Duration { return &d }
	for _, c := range []struct {
		name      string
		set, want RetryOptions
	}{
		{"nothing", RetryOptions{}, RetryOptions{
			RetryMin: 100 * time.Millisecond, RetryMax: 30 * time.Second, MaxWaiting: 4096, MaxWaitingBytes: 64 << 20,
			MaxRetryAfter: 5 * time.Minute, DrainTimeout: 5 * time.Minute,
			ConnectWait: wait(10 * time.Second),
		}},
		{"all", RetryOptions{
			RetryMin: time.Millisecond, RetryMax: time.Second, MaxWaiting: 3, MaxWaitingBytes: 4,
			MaxRetryAfter: time.Minute, DrainTimeout: time.Hour, ConnectWait: wait(0),
		}, RetryOptions{
			RetryMin: time.Millisecond, RetryMax: time.Second, MaxWaiting: 3, MaxWaitingBytes: 4,
			MaxRetryAfter: time.Minute, DrainTimeout: time.Hour, ConnectWait: wait(0),
		}},
		{"a least back-off above the largest", RetryOptions{RetryMin: time.Minute, RetryMax: time.Second}, RetryOptions{
			RetryMin: time.Minute, RetryMax: time.Minute, MaxWaiting: 4096, MaxWaitingBytes: 64 << 20,
			MaxRetryAfter: 10 * time.Minute, DrainTimeout: 5 * time.Minute,
			ConnectWait: wait(10 * time.Second),
		}},
		{"a least back-off above the largest by default", RetryOptions{RetryMin: time.Hour}, RetryOptions{
			RetryMin: time.Hour, RetryMax: time.Hour, MaxWaiting: 4096, MaxWaitingBytes: 64 << 20,
			MaxRetryAfter: 10 * time.Hour, DrainTimeout: 5 * time.Minute,
			ConnectWait: wait(10 * time.Second),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, c.set.resolve())
			assert.Equal(t, c.want, c.set)
		})
	}
	for want, bad := range map[string]RetryOptions{
		"RetryMin of -1ns is not between 1ms and 8760h0m0s":         {RetryMin: -1},
		"RetryMin of 1ns is not between 1ms and 8760h0m0s":          {RetryMin: 1},
		"RetryMax of -1ns is not between 1ms and 8760h0m0s":         {RetryMax: -1},
		"RetryMax of 8760h0m0.000000001s is not between 1ms":        {RetryMax: 8760*time.Hour + 1},
		"MaxRetryAfter of -1ns is not between 1ms and":              {MaxRetryAfter: -1},
		"DrainTimeout of 1ns is not between 1ms and":                {DrainTimeout: 1},
		"ConnectWait of -1ns is not between 0s and 8760h0m0s":       {ConnectWait: wait(-1)},
		"ConnectWait of 8760h0m0.000000001s is not between":         {ConnectWait: wait(8760*time.Hour + 1)},
		"MaxWaiting of -1 is not between 1 and":                     {MaxWaiting: -1},
		"MaxWaitingBytes of -9223372036854775808 is not between 1 ": {MaxWaitingBytes: math.MinInt},
	} {
		if strconv.IntSize == 32 {
			want = strings.ReplaceAll(want, "-9223372036854775808", "-2147483648")
		}
		assert.ErrorContains(t, bad.resolve(), want)
	}
}

// The back-off is spread over all of its bound, which doubles up to the largest and
// never overflows.
func TestBackoff(t *testing.T) {
	const most = time.Duration(math.MaxInt64)
	for _, c := range []struct {
		min, max time.Duration
		fails    int
		bound    time.Duration
	}{
		{time.Second, time.Minute, 0, time.Second},
		{time.Second, time.Minute, 1, 2 * time.Second},
		{time.Second, time.Minute, 5, 32 * time.Second},
		{time.Second, time.Minute, 6, time.Minute},
		{time.Second, time.Minute, 31, time.Minute},
		{time.Second, time.Minute, 32, time.Minute},
		{time.Second, time.Minute, 33, time.Minute},
		{time.Second, time.Minute, replacedFailures, time.Minute},
		{time.Second, time.Minute, math.MaxInt32, time.Minute},
		{time.Second, time.Second, 3, time.Second},
		{time.Second, most, 30, time.Second << 30},
		{time.Second, most, 33, most},
		{time.Second, most, 34, most},
		{most, most, 0, most},
		{most, most, 1, most},
		{most/2 + 1, most, 1, most},
		{most / 2, most, 1, most - 1},
		{most / 2, most, 2, most},
		{1, most, 32, 1 << 32},
		{1 << 31, most, 32, most}, // exactly the bit of the sign
		{1 << 30, most, 32, 1 << 62},
	} {
		t.Run(fmt.Sprintf("%d to %d after %d", c.min, c.max, c.fails), func(t *testing.T) {
			r := &RetryEnd{opt: &EndOptions{RetryOptions: RetryOptions{RetryMin: c.min, RetryMax: c.max}}}
			least, longest := most, time.Duration(0)
			for range 2000 {
				r.failures = c.fails
				wait := r.backoff()
				require.Equal(t, c.fails+1, r.failures)
				least, longest = min(least, wait), max(longest, wait)
			}
			assert.GreaterOrEqual(t, least, time.Duration(0))
			assert.Less(t, longest, c.bound)
			if c.bound > 100 {
				assert.Greater(t, longest, c.bound/10*9, "2000 tries")
				assert.Less(t, least, c.bound/10)
			}
		})
	}
}

// What the server asks for is obeyed once, up to a bound, and spread over as much again.
func TestBackoffObeysTheHint(t *testing.T) {
	r := &RetryEnd{opt: &EndOptions{RetryOptions: RetryOptions{RetryMin: time.Second, RetryMax: time.Second, MaxRetryAfter: time.Minute}}}
	least, longest := time.Duration(math.MaxInt64), time.Duration(0)
	for i := range 2000 {
		r.retryAfter = time.Minute
		if i%2 == 0 {
			r.retryAfter = math.MaxInt64
		}
		wait := r.backoff()
		least, longest = min(least, wait), max(longest, wait)
		require.Zero(t, r.retryAfter)
	}
	assert.GreaterOrEqual(t, least, time.Minute)
	assert.Less(t, least, 63*time.Second)
	assert.Less(t, longest, 2*time.Minute)
	assert.Greater(t, longest, 117*time.Second)
	assert.Less(t, r.backoff(), time.Second, "the next")

	r.retryAfter, r.opt.RetryMin, r.opt.RetryMax = time.Second, time.Hour, time.Hour
	assert.GreaterOrEqual(t, r.backoff(), time.Second)
}

// A meta that does not fit into the handshake is an error at once, and not a failure after
// which a RetryEnd tries again.
func TestMetaThatIsTooLarge(t *testing.T) {
	dialer := func() (net.Conn, error) {
		t.Error("it dials")
		return nil, errShut
	}
	opt := NewEndOptions()
	opt.SetMeta(make([]byte, 49<<10))
	opt.SetRetryFirst(context.Background())
	for _, make := range []func(Dialer, ...*EndOptions) (geminio.End, error){NewEndWithDialer, NewRetryEndWithDialer} {
		end, err := make(dialer, opt)
		assert.Nil(t, end)
		assert.ErrorIs(t, err, geminio.ErrTooLarge)
		assert.ErrorContains(t, err, "Meta of 50176 bytes")
	}
}
