package prometheus

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
)

// quoted finds names in a table.
var quoted = regexp.MustCompile("`([^`]+)`")

// quotedIn returns the names in a cell of a table.
func quotedIn(cell string) (all []string) {
	for _, name := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, name[1])
	}
	return all
}

// rows returns the cells of all tables of the README, by the names in the first column.
func rows(t *testing.T) map[string][]string {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	all := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		for _, name := range quotedIn(cells[0]) {
			all[name] = cells
		}
	}
	return all
}

// The README names the metrics that there are, with their types and labels, and no others.
func TestREADME(t *testing.T) {
	c := NewCollector(nil)
	r := registered(t, c)
	require.NoError(t, r.Register(NewClusterCollector(numbered())))
	everything(c)
	labels := map[string]map[string]bool{"credit": {}}
	all := gathered(t, r)
	table := rows(t)
	for name, f := range all {
		cells := table[name]
		if !assert.Len(t, cells, 4, name) {
			continue
		}
		delete(table, name)
		assert.Equal(t, strings.ToLower(f.GetType().String()), cells[1], name)
		var got []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			got = append(got, l.GetName())
		}
		assert.ElementsMatch(t, quotedIn(cells[2]), got, name)
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] == nil {
					labels[l.GetName()] = make(map[string]bool)
				}
				labels[l.GetName()][l.GetValue()] = true
			}
		}
	}
	for kind := geminio.CreditRaw; kind.String() != "unknown"; kind++ {
		labels["credit"][kind.String()] = true
	}
	for _, name := range codeNames {
		labels["code"][name] = true
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(table)), slices.Collect(maps.Keys(labels)), "what is left are the labels")
	for label, cells := range table {
		for value := range labels[label] {
			if label != "method" && label != "topic" {
				assert.Contains(t, quotedIn(cells[1]), value, label)
			}
		}
	}
}
