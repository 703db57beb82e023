package inspect

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxText is the number of bytes of a text of the peer that a page shows.
const maxText = 160

// printable returns a text that came from a peer in a form that is safe to show: characters that do
// not print, such as controls, bidirectional overrides and characters without width, and bytes that
// are not UTF-8, are escaped as in Go, and a long text is cut.
func printable(s string) string {
	cut := len(s) > maxText
	if cut {
		end := maxText
		for end > maxText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	if !isPlain(s) {
		s = escape(s)
	}
	if cut {
		s += "…"
	}
	return s
}

// isPlain reports whether all characters of s print.
func isPlain(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}

// escape escapes the characters of s that do not print.
func escape(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if strconv.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			b.WriteString(s[:size])
		} else {
			quoted := strconv.Quote(s[:size])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[size:]
	}
	return b.String()
}

// formatDuration formats a duration with about three digits: 850 µs, 12.3 ms, 4.2 s, 3m 05s, 2h 04m,
// 5d 03h.
func formatDuration(d time.Duration) string {
	pair := func(large time.Duration, l string, small time.Duration, s string) string {
		return strconv.FormatInt(int64(d/large), 10) + l + " " + twoDigits(int64(d%large/small)) + s
	}
	switch {
	case d < 0:
		return "0 s"
	case d < time.Millisecond:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case d < 100*time.Millisecond:
		return oneDecimal(int64(d), int64(time.Millisecond)) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return oneDecimal(int64(d), int64(time.Second)) + " s"
	case d < time.Hour:
		return pair(time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return pair(time.Hour, "h", time.Minute, "m")
	}
	return pair(24*time.Hour, "d", time.Hour, "h")
}

// twoDigits returns a number below 100 with two digits.
func twoDigits(n int64) string {
	if n < 10 {
		return "0" + strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10)
}

// oneDecimal returns n divided by unit with one decimal, rounded down.
func oneDecimal(n, unit int64) string {
	return strconv.FormatInt(n/unit, 10) + "." + strconv.FormatInt(n%unit*10/unit, 10)
}

// formatBytes formats a number of bytes: 0, 512 B, 1.5 KiB, 64.0 MiB.
func formatBytes(n uint64) string {
	if n < 1<<10 {
		return strconv.FormatUint(n, 10) + " B"
	}
	units, i := "KMGTPE", 0
	for ; n >= 1<<20; i++ {
		n >>= 10
	}
	return oneDecimal(int64(n), 1<<10) + " " + units[i:i+1] + "iB"
}

// formatCount formats a number with a separator after each group of three digits.
func formatCount(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:] // a narrow space that does not break
	}
	return s
}
