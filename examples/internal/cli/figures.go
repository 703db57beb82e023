package cli

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"time"
)

// figuresEvery is the interval at which Figures logs without a signal.
const figuresEvery = time.Minute

// Figures logs the figures of a program in one line until ctx ends: once in a minute at info,
// and after each SIGUSR1 at every level of the log. Windows has no such
// signal. The function figures returns attributes for the log.
func (p *Program) Figures(ctx context.Context, figures func() []any) {
	asked := make(chan os.Signal, 1)
	if len(figuresSignals) > 0 {
		signal.Notify(asked, figuresSignals...)
		defer signal.Stop(asked)
	}
	p.figures(ctx, asked, figures)
}

// figures implements Figures, with a channel of signals.
func (p *Program) figures(ctx context.Context, asked <-chan os.Signal, figures func() []any) {
	always := slog.New(slog.NewTextHandler(p.Stderr, nil))
	tick := time.NewTicker(figuresEvery)
	defer tick.Stop()
	for {
		log := p.Log
		select {
		case <-ctx.Done():
			return
		case <-asked:
			log = always
		case <-tick.C:
		}
		log.Info("figures", figures()...)
	}
}
