package inspect

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// defaultRows is the number of rows of a page if the query has none.
	defaultRows = 50
	// maxRows is the most rows that a page can have.
	maxRows = 500
	// maxFilter is the longest text, in bytes, by which rows are filtered.
	maxFilter = 256
)

// cell is what a page shows for a column of a row.
type cell struct {
	Text string
	Href string // of a link; empty: none
	Tone string // of a state: good, busy, bad, or idle; empty: no state
	Hint string // what the page shows beside the pointer; empty: nothing
	Dim  bool   // there is nothing to see, such as a zero
}

// column describes a column of a table of items. It has one of number and text, by which it is
// sorted. The texts of all columns are searched by the filter.
type column[I any] struct {
	name   string // in queries
	title  string
	hint   string
	class  string // of the style sheet
	number func(*I) uint64
	text   func(*I) string
	show   func(*I) cell // nil: the text or the number itself
}

// choice is one of the values of the selection beside the filter.
type choice[I any] struct {
	name, title string
	match       func(*I) bool
}

// table describes a table of items. It does not change after creation.
type table[I any] struct {
	name       string // in the page, and the prefix of its parameters in queries
	title      string
	columns    []column[I]
	order      string // the column by which the rows are sorted if the query names none
	descending bool
	choosing   string // what the choices are about; empty: there are none
	choices    []choice[I]
	empty      string // what the page says if there are no rows
	id         func(*I) rowID
	row        func(*I) any // the row in JSON
}

// request is what the query of a URL asks of a table.
type request struct {
	filter     string // in lower case
	choice     string
	order      string
	descending bool
	limit      int
	cursor     *position
	backward   bool
}

// badQuery is an error of a query. Its text has nothing of the query.
type badQuery string

func (e badQuery) Error() string { return string(e) }

// parse reads the parameters of the table.
func (t *table[I]) parse(query url.Values) (r request, err error) {
	get := func(name string) string { return query.Get(t.param(name)) }
	r = request{filter: strings.ToLower(get("q")), choice: get("only"), order: get("sort"), limit: defaultRows}
	if len(r.filter) > maxFilter {
		return r, badQuery(fmt.Sprintf("the filter has more than %d bytes", maxFilter))
	}
	if r.choice != "" && t.choice(r.choice) == nil {
		return r, badQuery("there is no such choice")
	}
	r.descending = get("desc") != "" && get("desc") != "0"
	if r.order == "" {
		r.order = t.order
		r.descending = t.descending
	} else if t.column(r.order) == nil {
		return r, badQuery("there is no such column")
	}
	if limit := get("limit"); limit != "" {
		r.limit, err = strconv.Atoi(limit)
		if err != nil || r.limit < 1 || r.limit > maxRows {
			return r, badQuery(fmt.Sprintf("the limit must be a number from 1 to %d", maxRows))
		}
	}
	after, before := get("after"), get("before")
	if after != "" && before != "" {
		return r, badQuery("a page cannot have both of after and before")
	}
	if cursor := after + before; cursor != "" {
		at, err := parsePosition(cursor)
		if err != nil {
			return r, badQuery(err.Error())
		}
		r.cursor, r.backward = &at, before != ""
	}
	return r, nil
}

// param returns the name of a parameter of the table. Two tables can be on one page.
func (t *table[I]) param(name string) string { return t.name + "." + name }

// column returns the column with a name, nil if there is none.
func (t *table[I]) column(name string) *column[I] {
	if i := slices.IndexFunc(t.columns, func(c column[I]) bool { return c.name == name }); i >= 0 {
		return &t.columns[i]
	}
	return nil
}

// choice returns the choice with a name, nil if there is none.
func (t *table[I]) choice(name string) *choice[I] {
	if i := slices.IndexFunc(t.choices, func(c choice[I]) bool { return c.name == name }); i >= 0 {
		return &t.choices[i]
	}
	return nil
}

// gathering collects one page of a table. It is used by one goroutine.
type gathering[I any] struct {
	table  *table[I]
	asked  request
	only   *choice[I] // nil: all
	order  *column[I]
	all    int // the items that were seen
	chosen selection[I]
}

// gather returns a gathering for a query.
func (t *table[I]) gather(query url.Values) (*gathering[I], error) {
	r, err := t.parse(query)
	if err != nil {
		return nil, err
	}
	return &gathering[I]{
		table: t, asked: r, only: t.choice(r.choice), order: t.column(r.order),
		chosen: selection[I]{limit: r.limit, descending: r.descending, cursor: r.cursor, backward: r.backward},
	}, nil
}

// add sees one item of the table.
func (g *gathering[I]) add(item I) {
	g.all++
	if g.only != nil && !g.only.match(&item) || !g.matches(&item) {
		return
	}
	at := position{row: g.table.id(&item)}
	if g.order.number != nil {
		at.number = g.order.number(&item)
	} else {
		at.text = g.order.text(&item)
	}
	g.chosen.add(item, at)
}

// matches reports whether the filter is in a text of the item.
func (g *gathering[I]) matches(item *I) bool {
	if g.asked.filter == "" {
		return true
	}
	for i := range g.table.columns {
		if text := g.table.columns[i].text; text != nil && strings.Contains(strings.ToLower(text(item)), g.asked.filter) {
			return true
		}
	}
	return false
}

// tableView is a page of a table, for the template.
type tableView struct {
	Name, Title string
	Titled      bool // the page has several tables
	Heads       []headView
	Rows        [][]cell
	Classes     []string // of the columns
	Keys        []string // of the rows
	Filter      string
	FilterParam string
	Choosing    string
	ChoiceParam string
	Choices     []choiceView
	Hidden      []hiddenView // the other parameters of the form
	All         string       // the number of all items
	Range       string       // which rows the page has
	First, Next string       // the links to other pages; empty: there is none
	Previous    string
	Empty       string
}

// headView is the head of a column.
type headView struct {
	Title, Hint, Class string
	Href               string
	Sort               string // the value of aria-sort
}

// choiceView is one of the choices.
type choiceView struct {
	Name, Title string
	Chosen      bool
}

// hiddenView is a parameter that a form keeps.
type hiddenView struct{ Name, Value string }

// Page is the JSON of one page of a table. Rows are in the order that the query asks for.
type Page[Row any] struct {
	All      int    `json:"all"`      // the rows of the table
	Matching int    `json:"matching"` // those that match the filter
	First    int    `json:"first"`    // the number of the first row of this page among them, from 1; 0 if the page is empty
	Rows     []Row  `json:"rows"`
	Previous string `json:"previous,omitempty"` // the query of the previous page, empty if there is none
	Next     string `json:"next,omitempty"`     // the query of the next page, empty if there is none
}

// page is the result of a gathering.
type page[I any] struct {
	items    []entry[I]
	before   int // the matching items before this page
	matching int
	all      int
}

// page returns the page. It is called once, after all calls of add.
func (g *gathering[I]) page() page[I] {
	items, before := g.chosen.page()
	return page[I]{items, before, g.chosen.seen, g.all}
}

// links returns the queries of the previous and the next page.
func (g *gathering[I]) links(p page[I], query url.Values) (previous, next string) {
	if len(p.items) == 0 {
		return "", ""
	}
	if p.before > 0 {
		previous = g.with(query, "before", p.items[0].at.String())
	}
	if p.before+len(p.items) < p.matching {
		next = g.with(query, "after", p.items[len(p.items)-1].at.String())
	}
	return previous, next
}

// with returns a query with other values of parameters of the table, on the first page unless one of
// them is after or before. An empty value removes the parameter.
func (g *gathering[I]) with(query url.Values, pairs ...string) string {
	changed := make(url.Values, len(query)+1)
	for name, values := range query {
		if name != g.table.param("after") && name != g.table.param("before") && len(values) > 0 {
			changed[name] = values[:1]
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			changed.Del(g.table.param(pairs[i]))
		} else {
			changed.Set(g.table.param(pairs[i]), pairs[i+1])
		}
	}
	return "?" + changed.Encode()
}

// json returns the page in JSON.
func (g *gathering[I]) json(query url.Values) Page[any] {
	p := g.page()
	j := Page[any]{All: p.all, Matching: p.matching, Rows: make([]any, len(p.items))}
	for i := range p.items {
		j.Rows[i] = g.table.row(&p.items[i].item)
	}
	if len(p.items) > 0 {
		j.First = p.before + 1
	}
	j.Previous, j.Next = g.links(p, query)
	return j
}

// view returns the page for the template. hide names the columns that it leaves out.
func (g *gathering[I]) view(query url.Values, hide ...string) tableView {
	t, p := g.table, g.page()
	v := tableView{
		Name: t.name, Title: t.title, Filter: query.Get(t.param("q")), FilterParam: t.param("q"),
		Choosing: t.choosing, ChoiceParam: t.param("only"),
		All: formatCount(uint64(p.all)), Range: p.describe(), Empty: t.empty,
	}
	if p.all > 0 {
		v.Empty = "No row matches."
	}
	v.Previous, v.Next = g.links(p, query)
	if g.asked.cursor != nil {
		v.First = g.with(query)
	}
	for _, c := range t.choices {
		v.Choices = append(v.Choices, choiceView{c.name, c.title, c.name == g.asked.choice})
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains([]string{v.FilterParam, v.ChoiceParam, t.param("after"), t.param("before")}, name) {
			v.Hidden = append(v.Hidden, hiddenView{name, query.Get(name)})
		}
	}
	shown := make([]*column[I], 0, len(t.columns))
	for i := range t.columns {
		c := &t.columns[i]
		if slices.Contains(hide, c.name) {
			continue
		}
		shown = append(shown, c)
		v.Heads = append(v.Heads, g.head(c, query))
		v.Classes = append(v.Classes, c.class)
	}
	for i := range p.items {
		item := &p.items[i].item
		cells := make([]cell, len(shown))
		for j, c := range shown {
			cells[j] = c.cell(item)
		}
		v.Rows = append(v.Rows, cells)
		v.Keys = append(v.Keys, t.name+rowKey(t.id(item)))
	}
	return v
}

// rowKey returns the id of a row in the page.
func rowKey(id rowID) string {
	var s strings.Builder
	for _, n := range id {
		s.WriteString("-" + strconv.FormatUint(n, 36))
	}
	return s.String()
}

// head returns the head of a column, with a link that sorts by it. Numbers are sorted from the
// largest at first, texts from the smallest.
func (g *gathering[I]) head(c *column[I], query url.Values) headView {
	h := headView{Title: c.title, Hint: c.hint, Class: c.class}
	descending := c.number != nil
	if c.name == g.asked.order {
		descending = !g.asked.descending
		h.Sort = "ascending"
		if g.asked.descending {
			h.Sort = "descending"
		}
	}
	desc := ""
	if descending {
		desc = "1"
	}
	h.Href = g.with(query, "sort", c.name, "desc", desc)
	return h
}

// cell returns what the page shows of an item.
func (c *column[I]) cell(item *I) (shown cell) {
	switch {
	case c.show != nil:
		shown = c.show(item)
	case c.number != nil:
		shown.Text = formatCount(c.number(item))
	default:
		shown.Text = c.text(item)
		shown.Hint = shown.Text // the column may be too narrow for it
	}
	shown.Dim = c.number != nil && c.number(item) == 0
	return shown
}

// describe says which rows the page has.
func (p page[I]) describe() string {
	of := formatCount(uint64(p.matching))
	if p.matching != p.all {
		of += " (of " + formatCount(uint64(p.all)) + ")"
	}
	if len(p.items) == 0 {
		return of
	}
	return formatCount(uint64(p.before+1)) + "–" + formatCount(uint64(p.before+len(p.items))) + " of " + of
}
