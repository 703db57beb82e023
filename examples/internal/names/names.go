// Package names checks the names of clients.
package names

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"go.mau.fi/util/confusable"
)

var valid = regexp.MustCompile(`\A[\pL\pN][\pL\pN\pM_.-]{0,63}\z`)

// Check returns an error if a text is not a name. A name has up to 64 letters and digits of any
// script, and _ . - after the first character. Invisible letters are not allowed.
func Check(name string) error {
	hidden := strings.IndexFunc(name, func(r rune) bool {
		return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
	})
	if !valid.MatchString(name) || hidden >= 0 {
		return fmt.Errorf("%+q is no name: it takes up to 64 letters, digits and _ . -", name)
	}
	return nil
}

// Alike tells whether two names look alike, according to Unicode's confusable characters, or
// differ only in case.
func Alike(a, b string) bool {
	alike := func(a, b string) bool { return strings.EqualFold(confusable.Skeleton(a), confusable.Skeleton(b)) }
	return strings.EqualFold(a, b) || alike(a, b) || alike(strings.ToLower(a), strings.ToLower(b))
}
