package main

// The progress bar, for those who look at a terminal.

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar that moves with what is written to it; a nil one is not
// seen. Its Write never fails: a bar is no reason to stop a copy.
type progress struct {
	bar *progressbar.ProgressBar
	w   io.Writer
}

// newProgress makes a bar on a terminal, or nil if there is none or there is nothing to
// come.
func newProgress(w *os.File, o offer) *progress {
	if w == nil || o.Size <= o.Offset {
		return nil
	}
	bar := progressbar.NewOptions64(o.Size,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(strconv.Quote(o.Name)),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionThrottle(50*time.Millisecond),
		progressbar.OptionSetWidth(30),
	)
	bar.Set64(o.Offset)
	return &progress{bar, w}
}

// Write implements io.Writer.
func (p *progress) Write(b []byte) (int, error) {
	if p != nil {
		p.bar.Add(len(b))
	}
	return len(b), nil
}

// end leaves the bar as it is and begins a new line.
func (p *progress) end() {
	if p != nil {
		fmt.Fprintln(p.w)
	}
}
