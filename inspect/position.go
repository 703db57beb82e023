package inspect

import (
	"cmp"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// position is the place of a row in an order: the value of the column by which the rows are sorted,
// and the identity of the row, which orders rows with equal values. Pages begin at a position and not
// at a number of rows, so the memory for a page does not depend on how far it is from the first.
type position struct {
	number uint64 // of a column of numbers
	text   string // of a column of texts
	row    rowID
}

// rowID identifies a row in a table: the client id of the End, the serial number of the End, the id
// of the stream, and the number of the call, as far as they apply.
type rowID [4]uint64

// compare returns a negative number if p is before q in ascending order, 0 if both are equal, and a
// positive number otherwise.
func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.number, q.number), strings.Compare(p.text, q.text), slices.Compare(p.row[:], q.row[:]))
}

// String returns p as parsePosition reads it.
func (p position) String() string {
	var s strings.Builder
	s.WriteString(strconv.FormatUint(p.number, 36))
	for _, n := range p.row {
		s.WriteString("." + strconv.FormatUint(n, 36))
	}
	s.WriteString("." + base64.RawURLEncoding.EncodeToString([]byte(p.text)))
	return s.String()
}

// errPosition is the error of a position in a URL that was not made by String.
var errPosition = errors.New("the position of the page is malformed")

// parsePosition returns the position that String has encoded.
func parsePosition(s string) (p position, err error) {
	parts := strings.Split(s, ".")
	if len(parts) != len(p.row)+2 {
		return position{}, errPosition
	}
	if p.number, err = strconv.ParseUint(parts[0], 36, 64); err != nil {
		return position{}, errPosition
	}
	for i := range p.row {
		if p.row[i], err = strconv.ParseUint(parts[i+1], 36, 64); err != nil {
			return position{}, errPosition
		}
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[len(parts)-1])
	if err != nil {
		return position{}, errPosition
	}
	p.text = string(text)
	return p, nil
}
