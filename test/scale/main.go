package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	if holdsClients() {
		if err := hold(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "scale, clients:", err)
			os.Exit(1)
		}
		return
	}
	l := full
	flag.IntVar(&l.clients, "clients", l.clients, "how many clients")
	flag.DurationVar(&l.length, "for", l.length, "how long the clients call")
	flag.DurationVar(&l.every, "every", l.every, "each client calls once in this time, at a random moment")
	flag.IntVar(&l.streams, "streams", l.streams, "how many streams on one connection")
	flag.IntVar(&l.echoes, "echoes", l.echoes, "how many of the streams are tried")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, l, asStated); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// load is the amount of work.
type load struct {
	clients       int
	length, every time.Duration // the duration of calling, and of a round in which each client calls once
	streams       int
	echoes        int // the number of streams that move bytes
}

// full is the load of "make scale".
var full = load{clients: 10_000, length: time.Minute, every: 20 * time.Second, streams: 100_000, echoes: 1000}

func run(ctx context.Context, l load, b bounds) error {
	err := runClients(ctx, l, b)
	if ctx.Err() != nil {
		return err
	}
	return errors.Join(err, runStreams(ctx, l, b))
}
