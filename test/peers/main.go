package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"time"
)

const help = `peers does the same work with geminio, raw TCP and other libraries and puts the
figures side by side. It prints a table, or writes it into the documentation.

The exit code is 0 when everything was measured, whether the bars are met or not,
1 when something failed, 2 when the flags make no sense.

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program.
func run(ctx context.Context, args []string, out, log io.Writer) int {
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.Usage = func() {
		fmt.Fprint(log, help)
		flags.PrintDefaults()
	}
	rounds := flags.Int("rounds", 5, "measure each figure `N` times, taking turns")
	window := flags.Duration("time", 500*time.Millisecond, "measure for this `long` each time")
	only := flags.String("only", "", "measure only what matches this `regexp`, such as '^calls/(geminio|minimal)': PROBE/PEER")
	write := flags.Bool("write", false, "write the table and the picture into the documentation instead of printing")
	docs := flags.String("docs", "../../docs", "the `directory` of the documentation")
	profile := flags.String("cpuprofile", "", "write a processor profile to `FILE`")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	pick, err := regexp.Compile(*only)
	if err != nil || *rounds < 1 || *window <= 0 || flags.NArg() > 0 {
		fmt.Fprintln(log, "peers: these flags make no sense; -h has help", err)
		return 2
	}
	var place *page
	if *write {
		if place, err = readPage(*docs); err != nil {
			fmt.Fprintln(log, "peers:", err)
			return 1
		}
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			defer f.Close()
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(log, "peers:", err)
			return 1
		}
		defer pprof.StopCPUProfile()
	}
	r, failed := compare(ctx, standard(*window), peers(), *rounds, pick, log)
	c := conditions{rounds: *rounds, window: *window, when: time.Now()}
	switch {
	case place == nil:
		report(out, r, c)
	case failed == nil:
		failed = place.write(r, c)
	}
	if failed != nil {
		fmt.Fprintln(log, "peers:", failed)
		return 1
	}
	return 0
}

// compare measures the selected probes and peers: for each probe all rounds, in each
// round all peers. Each round begins with another peer.
func compare(ctx context.Context, s settings, all []*peer, rounds int, pick *regexp.Regexp, log io.Writer) (*results, error) {
	r := newResults(all)
	var failed []error
	for _, pr := range probes() {
		absent := map[string]bool{}
		rounds := rounds
		if pr.most > 0 {
			rounds = min(rounds, pr.most)
		}
		for round := range rounds {
			fmt.Fprintf(log, "%s: round %d of %d\n", pr.name, round+1, rounds)
			for i := range all {
				p := all[(i+round)%len(all)]
				if absent[p.name] || !pick.MatchString(pr.name+"/"+p.name) {
					continue
				}
				v, err := pr.run(ctx, s, p)
				if ctx.Err() != nil {
					return r, errors.Join(append(failed, ctx.Err())...)
				}
				if errors.Is(err, errNotOffered) {
					absent[p.name] = true
					continue
				}
				if err != nil {
					err = fmt.Errorf("%s/%s: %w", pr.name, p.name, err)
					fmt.Fprintln(log, err)
					failed, v = append(failed, err), nil
				}
				fmt.Fprintln(log, p.name, v)
				r.add(pr.name, p.name, v)
			}
		}
	}
	return r, errors.Join(failed...)
}
