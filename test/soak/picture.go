package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/singchia/geminio/test/gauge"
)

// draw writes the samples as an SVG: one strip for each value, over time.
func draw(file string, all []sample) error {
	if len(all) < 2 {
		return nil
	}
	const width, strip, left, right = 900, 110, 150, 20
	strips := []struct {
		name, unit string
		of         func(prev, s sample) float64
	}{
		{"heap after GC", "MB", func(_, s sample) float64 { return gauge.Mega(s.Heap) }},
		{"goroutines", "", func(_, s sample) float64 { return float64(s.Goroutines) }},
		{"descriptors", "", func(_, s sample) float64 { return float64(s.Files) }},
		{"calls", "/s", func(p, s sample) float64 { return rate(p, s, p.calls, s.calls) }},
		{"messages", "/s", func(p, s sample) float64 { return rate(p, s, p.messages, s.messages) }},
		{"streams", "/s", func(p, s sample) float64 { return rate(p, s, p.streams, s.streams) }},
		{"resumed sessions", "/s", func(p, s sample) float64 { return rate(p, s, p.resumes, s.resumes) }},
		{"sessions that wait", "", func(_, s sample) float64 { return float64(s.waiting) }},
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, strip*len(strips)+30)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	first, last := all[0].at, all[len(all)-1].at
	for i, v := range strips {
		top, most := float64(i*strip+10), 0.0
		for k := 1; k < len(all); k++ {
			most = max(most, v.of(all[k-1], all[k]))
		}
		fmt.Fprintf(&b, `<text x="8" y="%.0f">%s</text><text x="8" y="%.0f" fill="#666">0 to %.5g %s</text>`+"\n", top+40, v.name, top+56, most, v.unit)
		fmt.Fprintf(&b, `<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" stroke="#bbb"/>`+"\n", left, top+strip-20, width-right, top+strip-20)
		var points []string
		for k := 1; k < len(all); k++ {
			x := left + float64(width-left-right)*float64(all[k].at.Sub(first))/float64(last.Sub(first))
			y := top + (strip-20)*(1-v.of(all[k-1], all[k])/max(most, 1))
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
		}
		fmt.Fprintf(&b, `<polyline fill="none" stroke="#0b6e99" stroke-width="1.5" points="%s"/>`+"\n", strings.Join(points, " "))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#666">%v, %d cuts</text>`+"\n</svg>\n", left, strip*len(strips)+22,
		last.Sub(first).Round(time.Second), all[len(all)-1].cuts)
	return os.WriteFile(file, []byte(b.String()), 0o666)
}

func rate(p, s sample, before, after int64) float64 {
	return float64(after-before) / s.at.Sub(p.at).Seconds()
}
