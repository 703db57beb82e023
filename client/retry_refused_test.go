package client

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// refusingDelegate refuses clients, as long as it has an error for them.
type refusingDelegate struct {
	*delegate.UnimplementedDelegate
	err atomic.Pointer[geminio.RefusedError]
}

func (d *refusingDelegate) GetClientID(wanted uint64, _ []byte) (uint64, error) {
	if err := d.err.Load(); err != nil {
		return 0, err
	}
	return wanted, nil
}

// A refusal is told with what it says, and ends a RetryEnd that is to stop on one
// unless the server is going away.
func TestStopOnRefusal(t *testing.T) {
	for _, c := range []struct {
		name    string
		refusal geminio.RefusedError
		told    geminio.Code
		stops   bool
	}{
		{"for good", geminio.RefusedError{Text: "who are you?"}, geminio.CodeApplication, true},
		{"for good, with a code", geminio.RefusedError{Code: geminio.CodeVersion, Text: "too old"}, geminio.CodeVersion, true},
		{"with a time to come back", geminio.RefusedError{Text: "full", RetryAfter: time.Minute}, geminio.CodeApplication, true},
		{"while shutting down", geminio.RefusedError{Code: geminio.CodeGoingAway, Text: "bye"}, geminio.CodeGoingAway, false},
		{"for now", geminio.RefusedError{Code: geminio.CodeGoingAway, Text: "bye", RetryAfter: time.Minute}, geminio.CodeGoingAway, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			door := new(refusingDelegate)
			sopt := server.NewEndOptions()
			sopt.SetDelegate(door)
			told := make(chan error, 1000)
			opt := NewEndOptions()
			opt.SetStopOnRefusal()
			opt.SetMaxRetryAfter(time.Hour)
			opt.SetRetryFailedFunc(func(err error) { told <- err })
			withRetryEnd(t, sopt, opt, func(t *testing.T, l *retryTest) {
				door.err.Store(&c.refusal)
				l.lose()
				call := kit.Run(func() error {
					_, err := l.end.Call(context.Background(), "m", l.end.NewRequest(nil))
					return err
				})
				time.Sleep(3 * time.Second)
				synctest.Wait()
				var refused *geminio.RefusedError
				require.ErrorAs(t, <-told, &refused)
				assert.Equal(t, geminio.RefusedError{Code: c.told, Text: c.refusal.Text, RetryAfter: c.refusal.RetryAfter}, *refused)
				dials := l.dials.Load()
				if c.stops {
					err := kit.Returned(t, call)
					require.ErrorAs(t, err, &refused)
					assert.ErrorIs(t, err, geminio.ErrNotExecuted)
					assert.NotErrorIs(t, err, io.EOF)
					require.ErrorAs(t, l.end.Cause(), &refused)
					<-l.end.Done()
					time.Sleep(time.Hour)
					assert.Equal(t, dials, l.dials.Load(), "it dials no more")
					return
				}
				kit.Blocked(t, call)
				if c.refusal.RetryAfter > 0 {
					time.Sleep(c.refusal.RetryAfter - 4*time.Second)
					assert.Equal(t, dials, l.dials.Load(), "it obeys")
				}
				door.err.Store(nil)
				time.Sleep(2*c.refusal.RetryAfter + 3*time.Second)
				require.ErrorContains(t, kit.Returned(t, call), "no such rpc", "it was made at last")
				assert.NoError(t, l.end.Cause())
			})
		})
	}
}
