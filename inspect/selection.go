package inspect

import "slices"

// entry is an item with its position.
type entry[I any] struct {
	item I
	at   position
}

// selection chooses the items of one page while it sees all items of a table, in any order. It keeps
// at most twice as many items as a page has. It is used by one goroutine.
type selection[I any] struct {
	limit      int       // the number of rows of a page
	descending bool      // the order of the rows
	cursor     *position // the page begins behind it, or ends before it if backward is set; nil: the first page
	backward   bool

	kept   []entry[I] // the candidates
	seen   int        // all items so far
	before int        // how many of them are before the page: up to the cursor, or, if backward, before the cursor
}

// compare compares positions in the order of the rows.
func (s *selection[I]) compare(a, b position) int {
	if s.descending {
		return b.compare(a)
	}
	return a.compare(b)
}

// add sees one item.
func (s *selection[I]) add(item I, at position) {
	s.seen++
	if s.cursor != nil {
		c := s.compare(at, *s.cursor)
		if c < 0 || c == 0 && !s.backward {
			s.before++
		}
		if onPage := c > 0 != s.backward && c != 0; !onPage {
			return
		}
	}
	s.kept = append(s.kept, entry[I]{item, at})
	if len(s.kept) == 2*s.limit {
		s.shrink()
	}
}

// shrink sorts the candidates from the cursor on, and drops those that are not on the page.
func (s *selection[I]) shrink() {
	slices.SortFunc(s.kept, func(a, b entry[I]) int {
		if s.backward {
			return s.compare(b.at, a.at)
		}
		return s.compare(a.at, b.at)
	})
	if len(s.kept) > s.limit {
		clear(s.kept[s.limit:])
		s.kept = s.kept[:s.limit]
	}
}

// page returns the items of the page in the order of the rows, and the number of items before it. It
// is called once, after all calls of add.
func (s *selection[I]) page() (items []entry[I], before int) {
	s.shrink()
	if s.backward {
		slices.Reverse(s.kept)
		return s.kept, s.before - len(s.kept)
	}
	return s.kept, s.before
}
