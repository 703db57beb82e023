package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		if err := act(role, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "scale, %s: %v\n", role, err)
			os.Exit(1)
		}
		return
	}
	l := full
	flag.Uint64Var(&l.size, "clients", l.size, "how many clients")
	flag.Int64Var(&l.stream, "stream", l.stream, "how many bytes go over a stream whose reader stalls")
	flag.IntVar(&l.entries, "entries", l.entries, "how many entries are written to measure NATS alone")
	flag.IntVar(&l.direct, "direct", 0, "the option DirectSize of the nodes; 0: the default")
	parts := flag.String("parts", "clients,stream,bucket", "the `PARTS` to run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, l, strings.Split(*parts, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// load is the amount of work.
type load struct {
	size       uint64        // clients
	groups     uint64        // each client is in one of them
	calls      uint64        // and publications, of each node
	broadcasts uint64        // to a group
	idle       time.Duration // how long the traffic without events is measured
	direct     int           // cluster.Options.DirectSize; 0 for the default
	lease      time.Duration // longer than NATS needs for a new leader
	stream     int64         // bytes
	entries    int           // written to NATS alone
}

// full is the load of "make cluster-scale".
var full = load{size: 10_000, groups: 100, calls: 10_000, broadcasts: 100, idle: 10 * time.Second, lease: 5 * time.Second, stream: 256 << 20, entries: 100_000}

// run runs parts, each with a cluster of its own.
func run(ctx context.Context, out io.Writer, l load, parts []string) error {
	all := map[string]func(context.Context, io.Writer, load) error{"clients": runClients, "stream": runStream, "bucket": runBucket}
	for _, part := range parts {
		f := all[part]
		if f == nil {
			return fmt.Errorf("there is no part %q", part)
		}
		if err := f(ctx, out, l); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}
