package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// figure is one measurement.
type figure struct {
	rate float64 // units of work in a second
	cpu  float64 // seconds of the processors that the tunnel's processes need for a unit
}

// results has the figures by row and tunnel, in the order of the rounds.
type results struct {
	options options
	tunnels []*tunnel
	figures map[[2]string][]figure
}

func newResults(o options, tunnels []*tunnel) *results {
	return &results{options: o, tunnels: tunnels, figures: make(map[[2]string][]figure)}
}

func (r *results) add(row, tunnel string, f figure) {
	key := [2]string{row, tunnel}
	r.figures[key] = append(r.figures[key], f)
}

// ratio returns the median over the rounds of a's rate as a part of b's in the same round;
// 0 if one of them was not measured.
func (r *results) ratio(row, a, b string) float64 {
	as, bs := r.figures[[2]string{row, a}], r.figures[[2]string{row, b}]
	var ratios []float64
	for i := range min(len(as), len(bs)) {
		ratios = append(ratios, as[i].rate/bs[i].rate)
	}
	return median(ratios)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

// print prints a table for each row, and whether the bars are met.
func (r *results) print(out io.Writer) {
	fmt.Fprintf(out, "Medians of %d rounds of %v; of direct is the median of the ratios in each round.\n", r.options.rounds, r.options.window)
	for _, w := range rows() {
		if len(r.figures[[2]string{w.name, direct}]) == 0 {
			continue
		}
		unit := strings.TrimSuffix(strings.TrimSuffix(w.unit, "/s"), "s")
		fmt.Fprintf(out, "\n%s\n", w.name)
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(table, "%s\tof direct\tµs of processors per %s\t\t\n", w.unit, unit)
		for _, t := range r.tunnels {
			var rates, cpus []float64
			for _, f := range r.figures[[2]string{w.name, t.name}] {
				rates, cpus = append(rates, f.rate), append(cpus, f.cpu)
			}
			fmt.Fprintf(table, "%.0f\t%.2f\t%.0f\t  %s\t\n", median(rates), r.ratio(w.name, t.name, direct), median(cpus)*1e6, t.name)
		}
		table.Flush()
		for _, miss := range r.misses(w) {
			fmt.Fprintln(out, "missed:", miss)
		}
	}
}

// misses lists the bars of a row that an example has missed: the rate of each tunnel with
// the same security, and the row's part of the direct rate.
func (r *results) misses(w row) []string {
	var missed []string
	for _, t := range r.tunnels {
		if !t.ours {
			continue
		}
		if of := r.ratio(w.name, t.name, direct); of < w.least {
			missed = append(missed, fmt.Sprintf("%s has %.2f of direct, and the bar is %.2f", t.name, of, w.least))
		}
		for _, other := range r.tunnels {
			if other.ours || other.name == direct || other.tls != t.tls {
				continue
			}
			if of := r.ratio(w.name, t.name, other.name); of < 1 {
				missed = append(missed, fmt.Sprintf("%s has %.2f of %s", t.name, of, other.name))
			}
		}
	}
	return missed
}
