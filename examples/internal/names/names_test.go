package names

import (
	"strings"
	"testing"

	"github.com/singchia/geminio/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestCheck(t *testing.T) {
	for name, ok := range map[string]bool{
		"ada": true, "Ada-2": true, "ärger": true, "अनु": true, "世界": true, "a.b_c": true, strings.Repeat("ä", 64): true,
		"": false, "-a": false, "a b": false, "a/b": false, strings.Repeat("ä", 65): false, "ada\n": false,
		"a\u200bda": false, "ada\u3164": false, "ada\ufe0f": false, "\u202eada": false,
	} {
		if err := Check(name); (err == nil) != ok {
			t.Errorf("Check(%+q): %v", name, err)
		}
	}
}

func TestAlike(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"ada", "ada"}:         true,
		{"ada", "ADA"}:         true,
		{"ada", "аdа"}:         true, // Cyrillic
		{"paypal", "раураl"}:   true,
		{"bob", "b0b"}:         true,
		{"Ill", "lll"}:         true,
		{"modern", "modem"}:    true,
		{"José", "Jose\u0301"}: true,
		{"ada", "adam"}:        false,
		{"bob", "rob"}:         false,
		{"Jose", "José"}:       false,
	} {
		if got := Alike(pair[0], pair[1]); got != want {
			t.Errorf("Alike(%+q, %+q) is %v", pair[0], pair[1], got)
		}
	}
}
