// Package names decides what clients may be called.
package names

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"go.mau.fi/util/confusable"
)

var valid = regexp.MustCompile(`\A[\pL\pN][\pL\pN\pM_.-]{0,63}\z`)

// Check returns why a text is no name, nil if it is one: up to 64 letters and digits of any
// script, and _ . - behind the first. Letters that nobody sees are none.
func Check(name string) error {
	hidden := strings.IndexFunc(name, func(r rune) bool {
		return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
	})
	if !valid.MatchString(name) || hidden >= 0 {
		return fmt.Errorf("%+q is no name: it takes up to 64 letters, digits and _ . -", name)
	}
	return nil
}

// Alike tells whether two names cannot be told apart, by what Unicode knows of characters
// that look alike, or differ in capitals only.
func Alike(a, b string) bool {
	alike := func(a, b string) bool { return strings.EqualFold(confusable.Skeleton(a), confusable.Skeleton(b)) }
	return strings.EqualFold(a, b) || alike(a, b) || alike(strings.ToLower(a), strings.ToLower(b))
}
