package main

// The progress bar on a terminal.

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
)

// redraw is how often the bar is drawn.
const redraw = 50 * time.Millisecond

// progress is a bar that moves with acknowledged messages. A nil progress shows nothing. Only
// one goroutine uses it.
type progress struct {
	bar  *progressbar.ProgressBar
	w    io.Writer
	last time.Time
}

// newProgress makes a bar on a terminal for a number of bytes, which is -1 if it is not known.
// It returns nil if there is no terminal.
func newProgress(w *os.File, total int64) *progress {
	if w == nil || total == 0 {
		return nil
	}
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription("acknowledged"),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowTotalBytes(total > 0),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionThrottle(redraw),
		progressbar.OptionSetWidth(30),
	)
	return &progress{bar: bar, w: w}
}

// acked moves the bar by a message of n bytes. count is the number of acknowledged messages.
func (p *progress) acked(n, count int) {
	if p == nil {
		return
	}
	if now := time.Now(); now.Sub(p.last) >= redraw {
		p.last = now
		p.bar.Describe(fmt.Sprintf("acknowledged %d", count))
	}
	p.bar.Add(n)
}

// end begins a new line after the bar.
func (p *progress) end() {
	if p != nil {
		fmt.Fprintln(p.w)
	}
}
