package inspect

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "",
		"device-7 grüßt 東京":           "device-7 grüßt 東京",
		"<b>&\"'":                     "<b>&\"'", // the template escapes these
		"a\u202eb\u2066c\u200bd":      `a\u202eb\u2066c\u200bd`,
		"line\nline\r\x1b[31m\x00":    `line\nline\r\x1b[31m\x00`,
		"\xff\xfe":                    `\xff\xfe`,
		"\ufffd":                      "\ufffd",
		"a\u00a0b":                    `a\u00a0b`,
		"\U000e0041":                  `\U000e0041`,
		strings.Repeat("x", maxText):  strings.Repeat("x", maxText),
		strings.Repeat("é", maxText):  strings.Repeat("é", maxText/2) + "…",
		"x" + strings.Repeat("é", 99): "x" + strings.Repeat("é", 79) + "…",
	} {
		assert.Equal(t, want, printable(in), "%q", in)
	}
}

// Everything that printable returns prints, and is not long.
func FuzzPrintable(f *testing.F) {
	f.Add("a\u202e<script>\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		require.True(t, utf8.ValidString(got))
		require.LessOrEqual(t, len(got), 10*maxText)
		for _, r := range got {
			require.True(t, r == '…' || r == utf8.RuneError || isPlain(string(r)), "%q", got)
		}
	})
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 µs", 850 * time.Microsecond: "850 µs", 12340 * time.Microsecond: "12.3 ms",
		999 * time.Millisecond: "999 ms", 4250 * time.Millisecond: "4.2 s", 59999 * time.Millisecond: "59.9 s",
		185 * time.Second: "3m 05s", 124 * time.Minute: "2h 04m", 123 * time.Hour: "5d 03h", math.MaxInt64: "106751d 23h",
	} {
		assert.Equal(t, want, formatDuration(d), "%d", d)
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1023.9 KiB", 64 << 20: "64.0 MiB",
		math.MaxUint64: "15.9 EiB",
	} {
		assert.Equal(t, want, formatBytes(n), "%d", n)
	}
}

func TestFormatCount(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 999: "999", 1000: "1\u202f000", 1234567: "1\u202f234\u202f567",
	} {
		assert.Equal(t, want, formatCount(n))
	}
}
