package screen

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
	"golang.org/x/text/unicode/norm"
)

const (
	zwnj      = '\u200c' // zero width non-joiner
	zwj       = '\u200d' // zero width joiner
	textStyle = '\ufe0e' // the character before it is text
	pictStyle = '\ufe0f' // the character before it is an emoji

	blackFlag         = '\U0001f3f4' // begins the flags of regions, which are spelt with tags
	firstTag, lastTag = '\U000e0020', '\U000e007f'
)

// Text returns text with escapes in place of control characters and of characters that hide or
// reorder text. It keeps tabs, line feeds, and carriage returns before line feeds.
func Text(text string) string { return sanitize(text, true) }

// Line is like Text, but also replaces all characters that end a line.
func Line(text string) string { return sanitize(text, false) }

func sanitize(text string, lines bool) string {
	if plain(text) {
		return text
	}
	var out strings.Builder
	clusters := graphemes.FromString(text)
	before := rune(0) // the last code point of the previous cluster
	for clusters.Next() {
		cluster := clusters.Value()
		after, _ := utf8.DecodeRuneInString(text[clusters.End():])
		if lines && (cluster == "\n" || cluster == "\r\n" || cluster == "\t") {
			out.WriteString(cluster)
		} else {
			writeCluster(&out, cluster, before, after)
		}
		before, _ = utf8.DecodeLastRuneInString(cluster)
	}
	return out.String()
}

// plain tells whether a text has only printable ASCII.
func plain(text string) bool {
	for _, b := range []byte(text) {
		if b < ' ' || b > '~' {
			return false
		}
	}
	return true
}

// writeCluster writes one character as a user sees it, of one or more code points, between
// two others.
func writeCluster(out *strings.Builder, cluster string, before, after rune) {
	runes := []rune(cluster)
	flag := isRegionFlag(runes)
	for i, at := 0, 0; at < len(cluster); i++ {
		r, size := utf8.DecodeRuneInString(cluster[at:])
		prev, next := before, after
		if i > 0 {
			prev = runes[i-1]
		}
		if i+1 < len(runes) {
			next = runes[i+1]
		}
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(out, `\x%02x`, cluster[at])
		case visible(r),
			r == zwj && (i > 0 && i+1 < len(runes) && visible(next) && next != utf8.RuneError && !unicode.Is(unicode.M, next) || isVirama(prev)),
			r == zwnj && (isVirama(prev) || joins(prev) && joins(next)),
			(r == textStyle || r == pictStyle) && i > 0 && visible(prev),
			flag && r >= firstTag && r <= lastTag:
			out.WriteString(cluster[at : at+size])
		default:
			escape(out, r)
		}
		at += size
	}
}

// visible tells whether a code point is visible by itself, or is a space with a width.
func visible(r rune) bool {
	return (unicode.IsPrint(r) || unicode.Is(unicode.Zs, r)) &&
		!unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) && !unicode.Is(unicode.Variation_Selector, r)
}

// isRegionFlag tells whether a character is a flag like that of Wales.
func isRegionFlag(runes []rune) bool {
	if len(runes) < 3 || runes[0] != blackFlag || runes[len(runes)-1] != lastTag {
		return false
	}
	for _, r := range runes[1:] {
		if r < firstTag || r > lastTag {
			return false
		}
	}
	return true
}

// isVirama tells whether a joiner after a code point determines how the letters around it are
// joined, as in Indic scripts.
func isVirama(r rune) bool {
	const virama = 9
	return norm.NFC.PropertiesString(string(r)).CCC() == virama
}

// joins tells whether the letters of the script are joined unless a non-joiner separates them.
func joins(r rune) bool {
	return unicode.IsLetter(r) && unicode.In(r, unicode.Arabic, unicode.Syriac, unicode.Mongolian, unicode.Nko, unicode.Mandaic)
}

func escape(out *strings.Builder, r rune) {
	switch {
	case r == '\n':
		out.WriteString(`\n`)
	case r == '\r':
		out.WriteString(`\r`)
	case r == '\t':
		out.WriteString(`\t`)
	case r < 0x80:
		fmt.Fprintf(out, `\x%02x`, r)
	case r <= 0xffff:
		fmt.Fprintf(out, `\u%04x`, r)
	default:
		fmt.Fprintf(out, `\U%08x`, r)
	}
}
