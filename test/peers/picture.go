package main

import (
	"fmt"
	"html"
	"io"
)

// The sizes in the picture, in pixels.
const (
	panelWidth  = 460
	panelTitle  = 24
	panelGap    = 14
	barHeight   = 13
	barStep     = 18
	nameWidth   = 96
	figureWidth = 150
	barWidth    = panelWidth - nameWidth - figureWidth
	margin      = 20
	legend      = 44
	best        = 3 // the number of other libraries in the picture
)

// The colors for a light and for a dark page.
const pictureStyle = `<style>
text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .faint, .figure { fill: #59636e } .figure { paint-order: stroke; stroke: #ffffff; stroke-width: 3px } .page { fill: #ffffff }
.ours { fill: #0969da } .reference { fill: #afb8c1 } .other { fill: #d4a72c }
.one { stroke: #59636e; stroke-dasharray: 3 2 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .faint, .figure { fill: #9198a1 } .figure { stroke: #0d1117 } .page { fill: #0d1117 }
.ours { fill: #4493f8 } .reference { fill: #656c76 } .other { fill: #9e6a03 }
.one { stroke: #9198a1 }
}
</style>
`

// stripe is one bar of the picture.
type stripe struct {
	name   string
	class  string
	figure string
	ratio  float64
}

// panel is one row of the table as bars.
type panel struct {
	title   string
	line    bool // whether there is a line at the ratio 1
	stripes []stripe
}

func (p panel) height() int { return panelTitle + barStep*len(p.stripes) + panelGap }

// picture writes the results as an SVG: for each row the ratios of geminio, the
// references and the best of the others to the peer of the row's first bar.
func picture(out io.Writer, r *results) {
	var panels []panel
	for _, w := range rows() {
		if p, ok := r.panel(w); ok {
			panels = append(panels, p)
		}
	}
	columns, height := split(panels)
	width := 2*margin + 2*panelWidth + 2*panelGap
	height += 2*margin + legend
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n",
		width, height, width, height)
	fmt.Fprintln(out, "<title>geminio beside raw TCP and other libraries on one loopback connection</title>")
	io.WriteString(out, pictureStyle)
	fmt.Fprintf(out, `<rect class="page" width="%d" height="%d" rx="6"/>`+"\n", width, height)
	drawLegend(out)
	for i, column := range columns {
		x, y := margin+i*(panelWidth+2*panelGap), margin+legend
		for _, p := range column {
			p.draw(out, x, y)
			y += p.height()
		}
	}
	fmt.Fprintln(out, "</svg>")
}

// split divides panels into two columns of about the same height, and returns the height
// of the larger one.
func split(panels []panel) (columns [2][]panel, height int) {
	total := 0
	for _, p := range panels {
		total += p.height()
	}
	left, i := 0, 0
	for ; i < len(panels) && left < total/2; i++ {
		left += panels[i].height()
	}
	columns[0], columns[1] = panels[:i], panels[i:]
	return columns, max(left, total-left)
}

func drawLegend(out io.Writer) {
	x := margin
	for _, entry := range []struct{ class, text string }{
		{"ours", "geminio"}, {"reference", "what the machine could do"}, {"other", "the best of the others"},
	} {
		fmt.Fprintf(out, `<rect class="%s" x="%d" y="%d" width="12" height="12"/><text x="%d" y="%d">%s</text>`+"\n",
			entry.class, x, margin, x+18, margin+10, entry.text)
		x += 50 + 7*len(entry.text)
	}
	fmt.Fprintf(out, `<text class="faint" x="%d" y="%d">Beside the figures: the ratio to the dashed line, which is what geminio is measured against, or its bar.</text>`+"\n",
		margin, margin+30)
}

// panel makes the bars of a row, unless geminio has no figure in it.
func (r *results) panel(w row) (panel, bool) {
	if _, ok := r.figure(w, r.ours()); !ok {
		return panel{}, false
	}
	made := panel{title: w.work}
	if w.less {
		made.title += " (less is better)"
	}
	names := []string{r.ours()}
	for _, p := range r.peers {
		if p.role == reference {
			names = append(names, p.name)
		}
	}
	others := r.others(w)
	names = append(names, others[:min(best, len(others))]...)
	first := w.bars[0]
	to := r.judge(w, first).against
	made.line = to != "" || first.limit > 0
	for _, name := range names {
		f, ok := r.figure(w, name)
		if !ok {
			continue
		}
		s := stripe{name: name, class: r.class(name), figure: w.format(f)}
		if to == "" {
			s.ratio = f / max(first.limit, 1)
		} else if s.ratio, ok = r.ratio(w, name, to); ok {
			s.figure += fmt.Sprintf(" (%.2f×)", s.ratio)
		}
		made.stripes = append(made.stripes, s)
	}
	return made, true
}

// class returns the style of the bars of a peer.
func (r *results) class(name string) string {
	for _, p := range r.peers {
		if p.name == name {
			return [...]string{ours: "ours", reference: "reference", other: "other"}[p.role]
		}
	}
	return ""
}

func (p panel) draw(out io.Writer, x, y int) {
	fmt.Fprintf(out, `<text class="title" x="%d" y="%d">%s</text>`+"\n", x, y+12, html.EscapeString(p.title))
	most := 1.0
	for _, s := range p.stripes {
		most = max(most, s.ratio)
	}
	if p.line {
		one := float64(x+nameWidth) + barWidth/most
		fmt.Fprintf(out, `<line class="one" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n",
			one, y+panelTitle-4, one, y+panelTitle+barStep*len(p.stripes)-2)
	}
	for i, s := range p.stripes {
		top := y + panelTitle + i*barStep
		long := 1.0
		if s.ratio > 0 { // not NaN
			long = max(s.ratio/most*barWidth, 1)
		}
		fmt.Fprintf(out, `<text x="%d" y="%d">%s</text>`, x, top+10, html.EscapeString(s.name))
		fmt.Fprintf(out, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, s.class, x+nameWidth, top, long, barHeight)
		fmt.Fprintf(out, `<text class="figure" x="%.1f" y="%d">%s</text>`+"\n", float64(x+nameWidth+6)+long, top+10, html.EscapeString(s.figure))
	}
}
