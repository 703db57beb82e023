package main

// The progress bar on a terminal.

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar that moves with the bytes that are written to it. A nil progress shows
// nothing. Write never fails, since the bar must not stop a copy.
type progress struct {
	bar *progressbar.ProgressBar
	w   io.Writer
}

// newProgress makes a bar on a terminal. It returns nil if there is no terminal or no byte is
// left.
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

// end begins a new line after the bar.
func (p *progress) end() {
	if p != nil {
		fmt.Fprintln(p.w)
	}
}
