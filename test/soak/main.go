package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/singchia/geminio/test/gauge"
)

func main() {
	length := flag.Duration("for", 30*time.Minute, "how long to run")
	every := flag.Duration("every", 5*time.Second, "how often to sample")
	clients := flag.Int("clients", 8, "how many clients")
	olds := flag.Int("old", 4, "how many clients of wire 1, beside them")
	keep := flag.Duration("keep", 20*time.Second, "how long the server keeps the session of a client that is gone")
	picture := flag.String("svg", "", "write a picture of the samples to `FILE`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *length)
	defer cancel()
	if err := run(ctx, *clients, *olds, *keep, *every, *picture); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, clients, olds int, keep, every time.Duration, picture string) error {
	w, err := newWork(clients, olds, keep)
	if err != nil {
		return err
	}
	samples := w.watch(ctx, every)
	if err := w.close(); err != nil {
		return err
	}
	if olds > 0 {
		text, err := w.oldWork()
		if err != nil {
			return err
		}
		fmt.Println(text)
	}
	after := gauge.Take()
	fmt.Printf("after the end: %d goroutines, %d descriptors, %.1f MB of heap\n", after.Goroutines, after.Files, gauge.Mega(after.Heap))
	if picture != "" {
		if err := draw(picture, samples); err != nil {
			return err
		}
	}
	return verdict(samples, after)
}
