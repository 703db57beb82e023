package main

// The progress bar, for those who look at a terminal.

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
)

// redraw is how often the bar is drawn.
const redraw = 50 * time.Millisecond

// progress is a bar that moves with what is acknowledged; a nil one is not seen. It
// belongs to one goroutine.
type progress struct {
	bar  *progressbar.ProgressBar
	w    io.Writer
	last time.Time
}

// newProgress makes a bar on a terminal for so many bytes, -1 if that is not known. It is
// nil if there is no terminal.
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

// acked moves the bar by a message of n bytes, the count-th.
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

// end leaves the bar as it is and begins a new line.
func (p *progress) end() {
	if p != nil {
		fmt.Fprintln(p.w)
	}
}
