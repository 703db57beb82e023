package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/singchia/geminio/test/gauge"
)

// sample has the values of a moment.
type sample struct {
	at time.Time
	gauge.Usage

	calls, messages, streams, bytes, cuts, resumes int64 // since the beginning

	waiting int // sessions without a connection
}

// watch samples until ctx ends.
func (w *work) watch(ctx context.Context, every time.Duration) (all []sample) {
	begin := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return all
		case at := <-tick.C:
			s := sample{at: at, Usage: gauge.Take()}
			s.calls, s.messages, s.streams = w.calls.Load(), w.messages.Load(), w.streams.Load()
			s.bytes, s.cuts = w.bytes.Load(), w.cuts.Load()
			s.resumes, s.waiting = w.resumed()
			all = append(all, s)
			if n := len(all); n == 1 || n%12 == 0 {
				fmt.Printf("%8s  heap %6.1f MB  %4d goroutines  %3d descriptors  %9d calls  %9d messages  %8d streams  %6d cuts  %6d resumes  %4d sessions wait\n",
					at.Sub(begin).Round(time.Second), gauge.Mega(s.Heap), s.Goroutines, s.Files, s.calls, s.messages, s.streams, s.cuts, s.resumes, s.waiting)
			}
		}
	}
}

// verdict tells whether a value has grown: whether the median of the last quarter is well
// above that of the second quarter, or something is left at the end.
func verdict(all []sample, after gauge.Usage) error {
	if len(all) < 8 {
		return errors.New("too few samples for a verdict")
	}
	quarter := len(all) / 4
	early, late := all[quarter:2*quarter], all[3*quarter:]
	var errs []error
	for _, c := range []struct {
		what  string
		of    func(sample) float64
		slack float64 // the allowed difference in addition to a tenth
	}{
		{"heap, MB", func(s sample) float64 { return gauge.Mega(s.Heap) }, 5},
		{"goroutines", func(s sample) float64 { return float64(s.Goroutines) }, 40},
		{"descriptors", func(s sample) float64 { return float64(s.Files) }, 8},
	} {
		a, b := median(early, c.of), median(late, c.of)
		fmt.Printf("%-12s %8.1f in the second quarter, %8.1f in the last\n", c.what, a, b)
		if b > 1.1*a+c.slack {
			errs = append(errs, fmt.Errorf("%s grew from %.1f to %.1f", c.what, a, b))
		}
	}
	if after.Goroutines > 8 {
		errs = append(errs, fmt.Errorf("%d goroutines are left", after.Goroutines))
	}
	return errors.Join(errs...)
}

func median(all []sample, of func(sample) float64) float64 {
	values := make([]float64, len(all))
	for i, s := range all {
		values[i] = of(s)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	return values[len(values)/2]
}
