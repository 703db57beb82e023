package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/singchia/geminio"
)

// benchSettings are the flags of the command bench.
type benchSettings struct {
	clients, callers, size int
	duration               time.Duration
	publish                bool
	quiet                  bool
}

// newBench returns the command bench.
func newBench(s *settings) *cobra.Command {
	b := &benchSettings{}
	cmd := &cobra.Command{
		Use:   "bench URL METHOD",
		Short: "measure the rate and the latency of calls or publications",
		Long: `bench calls a method, or publishes messages with the topic METHOD with --publish, from
several callers on several connections, and prints the rate and the percentiles of the
latency.`,
		Args: args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if b.clients < 1 || b.callers < 1 || b.size < 0 || b.duration <= 0 {
				return usageError{fmt.Errorf("--clients, --callers and --duration must be positive, and --size not negative")}
			}
			return s.bench(cmd, b, args[0], args[1])
		},
	}
	cmd.Flags().IntVarP(&b.clients, "clients", "n", 1, "number of connections")
	cmd.Flags().IntVarP(&b.callers, "callers", "c", 16, "number of callers on each connection")
	cmd.Flags().IntVarP(&b.size, "size", "s", 256, "bytes of data of each call")
	cmd.Flags().DurationVarP(&b.duration, "duration", "d", 10*time.Second, "how long to measure")
	cmd.Flags().BoolVar(&b.publish, "publish", false, "publish acknowledged messages instead of calling")
	cmd.Flags().BoolVarP(&b.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// tally counts the operations of one caller.
type tally struct {
	latency *hdrhistogram.Histogram // microseconds
	failed  int
	err     error // the first error
}

// bench runs the callers and prints the result.
func (s *settings) bench(cmd *cobra.Command, b *benchSettings, url, method string) error {
	ends := make([]geminio.End, b.clients)
	for i := range ends {
		end, err := s.connect(cmd.Context(), url)
		if err != nil {
			return err
		}
		defer end.Close()
		ends[i] = end
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), b.duration)
	defer cancel()
	begin := time.Now()
	tallies := make([]tally, b.clients*b.callers)
	var wg sync.WaitGroup
	for i := range tallies {
		wg.Go(func() { tallies[i] = s.work(ctx, b, ends[i%len(ends)], method) })
	}
	if !b.quiet {
		wg.Go(func() { showProgress(ctx, cmd.ErrOrStderr(), b.duration) })
	}
	wg.Wait()
	return report(cmd.OutOrStdout(), tallies, time.Since(begin))
}

// work calls or publishes until ctx ends.
func (s *settings) work(ctx context.Context, b *benchSettings, end geminio.End, method string) tally {
	t := tally{latency: hdrhistogram.New(1, time.Minute.Microseconds(), 3)}
	data := make([]byte, b.size)
	for ctx.Err() == nil {
		begin := time.Now()
		err := s.operate(b, end, method, data)
		switch {
		case err == nil:
			t.latency.RecordValue(max(1, time.Since(begin).Microseconds()))
		default:
			t.failed++
			if t.err == nil {
				t.err = err
			}
			if !answered(err) {
				return t // the connection has ended, or the server does not answer
			}
		}
	}
	return t
}

// operate makes one call or publication. The end of the measurement does not interrupt it.
func (s *settings) operate(b *benchSettings, end geminio.End, method string, data []byte) error {
	ctx, cancel := s.limited(context.Background())
	defer cancel()
	if b.publish {
		m := end.NewMessage(data)
		m.SetTopic(method)
		return end.Publish(ctx, m)
	}
	_, err := end.Call(ctx, method, end.NewRequest(data))
	return err
}

// showProgress shows until ctx ends how much of d has passed: with a bar on a terminal, and with
// a few plain lines otherwise.
func showProgress(ctx context.Context, w io.Writer, d time.Duration) {
	const bars, lines = 100, 10
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		bar := progressbar.NewOptions(bars, progressbar.OptionSetWriter(w),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
		every(ctx, d/bars, func(time.Duration) { bar.Add(1) })
		bar.Finish()
		return
	}
	every(ctx, max(d/lines, time.Second), func(passed time.Duration) {
		fmt.Fprintf(w, "%s of %s\n", passed.Round(time.Second), d)
	})
}

// every calls f each time a period has passed, until ctx ends.
func every(ctx context.Context, period time.Duration, f func(passed time.Duration)) {
	begin := time.Now()
	tick := time.NewTicker(max(period, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f(time.Since(begin))
		case <-ctx.Done():
			return
		}
	}
}

// report prints the sum of the tallies. Its error is the first error of an operation.
func report(w io.Writer, tallies []tally, took time.Duration) error {
	sum := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	failed := 0
	var err error
	for _, t := range tallies {
		sum.Merge(t.latency)
		failed += t.failed
		if err == nil {
			err = t.err
		}
	}
	fmt.Fprintf(w, "%d operations in %s, %.0f/s, %d failed\n",
		sum.TotalCount(), took.Round(time.Millisecond), float64(sum.TotalCount())/took.Seconds(), failed)
	for _, q := range []float64{50, 90, 99, 99.9, 100} {
		fmt.Fprintf(w, "%5.1f %%  %s\n", q, time.Duration(sum.ValueAtQuantile(q))*time.Microsecond)
	}
	return describe(err)
}
