package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// conditions are the conditions of the measurement.
type conditions struct {
	rounds int
	window time.Duration
	when   time.Time
}

// report writes the results as Markdown.
func report(out io.Writer, r *results, c conditions) {
	fmt.Fprintf(out, "Measured on %s with %s on %s/%s, %d processors: medians of %s, %v for each figure.\n",
		c.when.Format("2 January 2006"), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		count(c.rounds, "round"), c.window)
	fmt.Fprintln(out, "Both sides are in one process and talk over one loopback connection. The peers take")
	fmt.Fprintln(out, "turns in each round; a ratio is the median of the ratios of the rounds. Payloads are")
	fmt.Fprintln(out, "verified before anything is timed.")
	fmt.Fprintln(out)
	reportBars(out, r)
	fmt.Fprintln(out)
	reportFigures(out, r)
	fmt.Fprintln(out)
	reportRows(out, r)
	fmt.Fprintln(out)
	reportPeers(out, r)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// reportBars writes a line for each bar.
func reportBars(out io.Writer, r *results) {
	fmt.Fprintln(out, "| work | geminio | beside | its figure | ratio | bar | |")
	fmt.Fprintln(out, "| --- | ---: | --- | ---: | ---: | ---: | --- |")
	for _, w := range rows() {
		figure, ok := r.figure(w, r.ours())
		if !ok {
			continue
		}
		work, mine := w.work, w.format(figure)
		for _, b := range w.bars {
			v := r.judge(w, b)
			beside, its, ratio, limit := "–", "–", "–", w.format(b.limit)
			if b.against != "" {
				beside, limit = v.against, plain(b.limit)+"×"
				if b.against == bestPeer && v.measured {
					beside += " (best peer)"
				}
				if f, ok := r.figure(w, v.against); ok {
					its = w.format(f)
				}
				if v.measured {
					ratio = fmt.Sprintf("%.2f×", v.ratio)
				}
			}
			limit = sign(w) + " " + limit
			if b.shown {
				limit = "–"
			}
			fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s |\n", work, mine, beside, its, ratio, limit, word(b, v))
			work, mine = "", ""
		}
	}
}

// sign returns the sign of comparison of a bar.
func sign(w row) string {
	if w.less {
		return "≤"
	}
	return "≥"
}

// word returns the outcome of a bar.
func word(b bar, v verdict) string {
	outcome := "**not met**"
	switch {
	case b.shown:
		return ""
	case !v.measured:
		outcome = "not measured"
	case v.met:
		outcome = "met"
	}
	if b.stretch {
		return "stretch: " + strings.Trim(outcome, "*")
	}
	return outcome
}

// reportFigures writes the figures of all peers.
func reportFigures(out io.Writer, r *results) {
	fmt.Fprint(out, "| work |")
	for _, p := range r.peers {
		fmt.Fprintf(out, " %s |", p.name)
	}
	fmt.Fprint(out, "\n| --- |", strings.Repeat(" ---: |", len(r.peers)), "\n")
	for _, w := range rows() {
		if r.rounds[w.probe] == nil {
			continue
		}
		fmt.Fprintf(out, "| %s |", w.work)
		for _, p := range r.peers {
			cell := "–"
			if v, ok := r.figure(w, p.name); ok {
				cell = w.format(v)
			}
			fmt.Fprintf(out, " %s |", cell)
		}
		fmt.Fprintln(out)
	}
}

// reportRows describes the rows.
func reportRows(out io.Writer, r *results) {
	fmt.Fprint(out, "The rows measure:\n\n")
	for _, w := range rows() {
		if r.rounds[w.probe] != nil {
			fmt.Fprintf(out, "- %s: %s.\n", w.work, w.what)
		}
	}
}

// reportPeers describes the peers and their settings.
func reportPeers(out io.Writer, r *results) {
	fmt.Fprint(out, "How the peers are set up:\n\n")
	versions := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			versions[d.Path] = d.Version
		}
	}
	for _, p := range r.peers {
		version := ""
		if p.module != "" {
			version = " " + versions[p.module]
		}
		fmt.Fprintf(out, "- %s%s: %s.\n", p.name, version, p.setup)
	}
	fmt.Fprintln(out)
	fmt.Fprintln(out, "The stream libraries have no calls. For these libraries, a call is a length and the bytes in")
	fmt.Fprintln(out, "each direction, on a stream that each caller keeps; an ack is one byte.")
}
