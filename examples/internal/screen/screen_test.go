package screen

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/singchia/geminio/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"plain":                     "plain",
		"two\nlines\r\nand a\ttab":  "two\nlines\r\nand a\ttab",
		"over\rwritten":             `over\rwritten`,
		"\x1b[2J\x1b]0;title\x07":   `\x1b[2J\x1b]0;title\x07`,
		"back\x08space \x00 \x7f":   `back\x08space \x00 \x7f`,
		"\u009b31m \u0085":          `\u009b31m \u0085`,
		"raw \x9b31m":               `raw \x9b31m`,
		"cut \xe2\x80":              `cut \xe2\x80`,
		"\u202egnp.exe":             `\u202egnp.exe`,
		"\u2066a\u2069\u200e\u061c": `\u2066a\u2069\u200e\u061c`,
		"hid\u200bden\ufeff\u00ad":  `hid\u200bden\ufeff\u00ad`,
		"\u2060\u2062\u180e\u034f":  `\u2060\u2062\u180e\u034f`,
		"\u3164\uffa0\u115f":        `\u3164\uffa0\u115f`, // invisible letters
		"\u2028\u2029":              `\u2028\u2029`,
		"\U000e0041\U000e007f":      `\U000e0041\U000e007f`,
		"a\u200db a\u200cb":         `a\u200db a\u200cb`,
		"\u200d":                    `\u200d`,
		"a\u200d\u0301":             `a\u200d` + "\u0301",
		"a\ufe0f \U000e0100":        "a\ufe0f " + `\U000e0100`,
		"\ue000":                    `\ue000`,

		"Grüße, 世界\u3000!":    "Grüße, 世界\u3000!",
		"שלום עולם":           "שלום עולם",
		"می\u200cخواهم":       "می\u200cخواهم", // Persian, with a non-joiner
		"क्\u200dय ශ්\u200dර": "क्\u200dय ශ්\u200dර",
		"👨\u200d👩\u200d👧 👍🏽 ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 🇩🇪":            "👨\u200d👩\u200d👧 👍🏽 ❤\ufe0f\u200d🔥 1\ufe0f\u20e3 🇩🇪",
		"🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f": "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f",
	} {
		if got := Text(text); got != want {
			t.Errorf("Text(%+q) is %+q instead of %+q", text, got, want)
		}
	}
	if got := Line("a\r\nb\nc\td\u2028"); got != `a\r\nb\nc\td\u2028` {
		t.Errorf("Line leaves %q", got)
	}
}

// No code point that controls a terminal is left, at any position.
func TestNothingHarmfulIsLeft(t *testing.T) {
	for _, around := range []string{"%", "a%b", "👨%👩", "می%خ", "क्%य", "🏴%\U000e007f", "\x1b%"} {
		for r := range rune(unicode.MaxRune + 1) {
			if !unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) || r == '\n' || r == '\t' {
				continue
			}
			if got := Text(strings.Replace(around, "%", string(r), 1)); strings.ContainsRune(got, r) {
				t.Errorf("%+q is left in %+q", r, got)
			}
		}
	}
}

func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "a\x1b[2J", "👨\u200d👩", "\xff\xe2\x80\u202e\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Text(text)
		for i, r := range got {
			if r == unicode.ReplacementChar || r == '\n' || r == '\t' || r == '\r' && strings.HasPrefix(got[i:], "\r\n") {
				continue
			}
			if unicode.In(r, unicode.Cc, unicode.Bidi_Control) {
				t.Fatalf("%+q is left of %+q", r, text)
			}
		}
		if again := Text(got); again != got {
			t.Fatalf("Text(%+q) is %+q, and of that %+q", text, got, again)
		}
	})
}

// A text that is written in pieces is processed as one text.
func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := &Writer{file: &out}
	for _, b := range []byte("é 👍 \x1b \xe2\x80 €") {
		if n, err := w.Write([]byte{b}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got, want := out.String(), `é 👍 \x1b \xe2\x80 €`; got != want {
		t.Errorf("%q was written instead of %q", got, want)
	}
}

// A file that is not a terminal gets the text unchanged.
func TestNoTerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if w := New(file); w != file {
		t.Errorf("a file is written to by way of %T", w)
	}
}
