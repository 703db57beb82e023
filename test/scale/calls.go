package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/options"
)

// calls has the results of calls.
type calls struct {
	Made, Failed        int
	First               string // the first error
	Half, Most, Longest time.Duration
}

// tooLong is the time after which a call counts as hanging.
const tooLong = time.Minute

// callNowAndThen lets each End call once in every round, at a random moment. There is at
// least one round. No goroutine waits for an End that does not call.
func callNowAndThen(ctx context.Context, ends []geminio.End, length, every time.Duration) calls {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		c     calls
		times []time.Duration
	)
	call := func(end geminio.End) {
		took, err := echoed(ctx, end)
		mu.Lock()
		defer mu.Unlock()
		c.Made++
		times = append(times, took)
		if err != nil {
			if c.Failed++; c.Failed == 1 {
				c.First = err.Error()
			}
		}
	}
	begin := time.Now()
	for start := begin; ctx.Err() == nil && (start == begin || start.Before(begin.Add(length))); start = start.Add(every) {
		for _, t := range turns(ends, every) {
			if !sleepUntil(ctx, start.Add(t.after)) {
				break
			}
			wg.Go(func() { call(t.end) })
		}
	}
	wg.Wait()
	if len(times) > 0 {
		slices.Sort(times)
		c.Half, c.Most, c.Longest = times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
	}
	return c
}

// turn is the moment in a round at which an End calls.
type turn struct {
	end   geminio.End
	after time.Duration
}

// turns returns a turn for each End, in order.
func turns(ends []geminio.End, round time.Duration) []turn {
	all := make([]turn, len(ends))
	for i, end := range ends {
		all[i] = turn{end, rand.N(round)}
	}
	slices.SortFunc(all, func(a, b turn) int { return cmp.Compare(a.after, b.after) })
	return all
}

func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// echoed makes a call and compares its answer.
func echoed(ctx context.Context, end geminio.End) (time.Duration, error) {
	opt := options.Call()
	opt.SetTimeout(tooLong)
	data := bytes.Repeat([]byte{byte(rand.Uint32())}, rand.IntN(300))
	start := time.Now()
	resp, err := end.Call(ctx, "echo", end.NewRequest(data), opt)
	took := time.Since(start)
	if err == nil && !bytes.Equal(resp.Data(), data) {
		err = errors.New("the answer is not what was sent")
	}
	return took, err
}

// methods returns the methods that both sides register.
func methods() *geminio.MethodRPC {
	return &geminio.MethodRPC{Method: "echo", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetData(req.Data())
	}}
}
