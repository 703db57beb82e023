package test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dashboard is what Grafana needs of a dashboard.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	Time          struct {
		From, To string
	} `json:"time"`
	Templating struct {
		List []variable `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

// variable is a variable of a dashboard.
type variable struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	Definition string `json:"definition"`
}

// datasource refers to a data source.
type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// panel is a panel of a dashboard.
type panel struct {
	ID      int    `json:"id"`
	Type    string `json:"type"`
	Title   string `json:"title"`
	GridPos struct {
		H, W, X, Y int
	} `json:"gridPos"`
	Datasource  datasource `json:"datasource"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		RefID        string     `json:"refId"`
		Datasource   datasource `json:"datasource"`
		Expr         string     `json:"expr"`
		LegendFormat string     `json:"legendFormat"`
	} `json:"targets"`
}

// units are the units of Grafana that the dashboard uses.
var units = []string{"short", "s", "cps", "Bps", "bytes", "percentunit"}

var (
	usedVariable = regexp.MustCompile(`\$\{?([A-Za-z_]+)\}?`)
	usedLabel    = regexp.MustCompile(`\{\{(\w+)\}\}`)
	labelValues  = regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)
)

// The dashboard has what Grafana needs, its queries can be parsed, and it shows each exported metric.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../dashboard.json")
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(text, &d))
	assert.NotEmpty(t, d.UID)
	assert.NotEmpty(t, d.Title)
	assert.GreaterOrEqual(t, d.SchemaVersion, 36, "before 36, data sources were names")
	assert.NotEmpty(t, d.Time.From)
	assert.NotEmpty(t, d.Time.To)

	all := exported(t)
	variables := map[string]string{"__rate_interval": "1m"}
	for _, v := range d.Templating.List {
		variables[v.Name] = "x"
		switch v.Type {
		case "datasource":
		case "query":
			m := labelValues.FindStringSubmatch(v.Definition)
			if assert.NotNil(t, m, v.Definition) {
				assert.True(t, all[m[1]][m[2]], v.Definition)
			}
		default:
			assert.Fail(t, "variable of another type", v.Name)
		}
	}
	for _, m := range usedVariable.FindAllStringSubmatch(string(text), -1) {
		assert.Contains(t, variables, m[1], "a variable that is not defined")
	}

	shown := make(map[string]bool)
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, p := range d.Panels {
		assert.NotEmpty(t, p.Title)
		assert.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		assert.NotZero(t, p.GridPos.H*p.GridPos.W, p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				assert.Less(t, x, 24, p.Title)
				assert.Empty(t, taken[[2]int{x, y}], "%s overlaps another panel", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			assert.Empty(t, p.Targets, p.Title)
			continue
		}
		assert.Equal(t, "timeseries", p.Type, p.Title)
		assert.Contains(t, units, p.FieldConfig.Defaults.Unit, p.Title)
		assert.NotEmpty(t, p.Targets, p.Title)
		refs := make(map[string]bool)
		for _, target := range p.Targets {
			for _, ds := range []datasource{p.Datasource, target.Datasource} {
				assert.Equal(t, datasource{"prometheus", "${datasource}"}, ds, p.Title)
			}
			assert.NotEmpty(t, target.RefID, p.Title)
			assert.False(t, refs[target.RefID], p.Title)
			refs[target.RefID] = true
			query := usedVariable.ReplaceAllStringFunc(target.Expr, func(s string) string { return variables[strings.Trim(s, "${}")] })
			for _, name := range check(t, all, query) {
				shown[name] = true
			}
			for _, m := range usedLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
				assert.Regexp(t, `by \([^)]*\b`+m[1]+`\b`, target.Expr, "the legend %q has another label", target.LegendFormat)
			}
		}
	}
	for name := range maps.Clone(all) {
		if strings.HasSuffix(name, "_sum") || strings.HasSuffix(name, "_count") {
			delete(all, name)
		}
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(all)), slices.Collect(maps.Keys(shown)), "the exported and the shown metrics")
}
