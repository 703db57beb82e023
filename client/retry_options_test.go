package client

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
