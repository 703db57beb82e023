package inspect

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shuffled returns positions in random order. Many of them have the same number.
func shuffled(n int) []position {
	all := make([]position, n)
	for i := range all {
		all[i] = position{number: uint64(i / 7), row: rowID{uint64(i)}}
	}
	rand.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// A walk over the pages, forward and then backward, sees each item once in the right order.
func TestWalkOverPages(t *testing.T) {
	for _, descending := range []bool{false, true} {
		for _, n := range []int{0, 1, 9, 10, 11, 40, 237} {
			t.Run(fmt.Sprintf("%d items, descending %v", n, descending), func(t *testing.T) {
				const limit = 10
				want := shuffled(n)
				slices.SortFunc(want, position.compare)
				if descending {
					slices.Reverse(want)
				}
				turn := func(cursor *position, backward bool) ([]position, int) {
					s := selection[int]{limit: limit, descending: descending, cursor: cursor, backward: backward}
					for i, p := range shuffled(n) {
						s.add(i, p)
					}
					require.Equal(t, n, s.seen)
					require.LessOrEqual(t, cap(s.kept), 4*limit)
					items, before := s.page()
					require.LessOrEqual(t, len(items), limit)
					at := make([]position, len(items))
					for i := range items {
						at[i] = items[i].at
					}
					return at, before
				}
				var got []position
				page, before := turn(nil, false)
				var last []position
				for len(page) > 0 {
					require.Equal(t, len(got), before)
					got = append(got, page...)
					last = page
					page, before = turn(&page[len(page)-1], false)
				}
				require.Equal(t, n, before)
				assert.Equal(t, want, append([]position{}, got...))
				if n == 0 {
					return
				}
				left := n - len(last)
				for left > 0 {
					page, before = turn(&last[0], true)
					require.Len(t, page, limit)
					require.Equal(t, left-limit, before)
					assert.Equal(t, want[before:left], page)
					left, last = before, page
				}
				page, before = turn(&last[0], true)
				assert.Empty(t, page)
				assert.Zero(t, before)
			})
		}
	}
}
