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
	"time"
)

const help = `tunnels carries the same HTTP traffic without a tunnel, through the examples relay and
traversal, through chisel and through frp, and prints the rates side by side.

The exit code is 0 when everything was measured, whether the bars are met or not,
1 when something failed, 2 when the flags make no sense.

Flags:
`

func main() {
	if len(os.Args) == 3 && os.Args[1] == serveCommand {
		os.Exit(serve(os.Args[2]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	rounds  int
	window  time.Duration
	row     *regexp.Regexp
	system  *regexp.Regexp
	keepLog bool
}

// run is the program.
func run(ctx context.Context, args []string, out, log io.Writer) int {
	flags := flag.NewFlagSet("tunnels", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.Usage = func() {
		fmt.Fprint(log, help)
		flags.PrintDefaults()
	}
	rounds := flags.Int("rounds", 5, "measure each figure `N` times, taking turns")
	window := flags.Duration("time", time.Second, "measure for this `long` each time")
	row := flags.String("row", "", "measure only the rows that match this `regexp`, such as '^keep-alive'")
	system := flags.String("system", "", "measure only the tunnels that match this `regexp`, such as 'relay|chisel', and direct")
	keepLog := flags.Bool("keep-log", false, "keep the directory with what the programs print")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	o := options{rounds: *rounds, window: *window, keepLog: *keepLog}
	var err, err2 error
	o.row, err = regexp.Compile(*row)
	o.system, err2 = regexp.Compile(*system)
	if err := errors.Join(err, err2); err != nil || *rounds < 1 || *window <= 0 || flags.NArg() > 0 {
		fmt.Fprintln(log, "tunnels: these flags make no sense; -h has help", err)
		return 2
	}
	r, err := compare(ctx, o, log)
	if err != nil {
		fmt.Fprintln(log, "tunnels:", err)
		return 1
	}
	r.print(out)
	return 0
}

// compare starts the web server and the tunnels, and measures: for each row all rounds, in
// each round all tunnels. Each round begins with another tunnel.
func compare(ctx context.Context, o options, log io.Writer) (*results, error) {
	h, err := newHost(ctx, log, o.keepLog)
	if err != nil {
		return nil, err
	}
	defer h.close()
	running, err := h.startAll(o.system)
	if err != nil {
		return nil, err
	}
	r := newResults(o, running)
	for _, w := range rows() {
		if !o.row.MatchString(w.name) {
			continue
		}
		for round := range o.rounds {
			fmt.Fprintf(log, "%s: round %d of %d\n", w.name, round+1, o.rounds)
			for i := range running {
				t := running[(i+round)%len(running)]
				before := t.cpu()
				rate, units, err := w.measure(ctx, t.addr, o.window)
				if err != nil {
					return nil, fmt.Errorf("%s through %s: %w", w.name, t.name, err)
				}
				r.add(w.name, t.name, figure{rate: rate, cpu: (t.cpu() - before).Seconds() / units})
			}
		}
	}
	return r, nil
}
