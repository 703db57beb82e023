package auth

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/test/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestHello(t *testing.T) {
	h := New("x", "ada", "a token")
	got, err := Read("x", h.Meta())
	if err != nil || got != h {
		t.Error(got, err)
	}
	if id := New("x", "ada", "a token").ClientID(); id == h.ClientID() || id == 0 {
		t.Error("two sessions have the same id, or none:", id)
	}
	for meta, want := range map[string]string{
		"":                              "not a client of x",
		`{"program":"y"}`:               "not a client of x",
		`{"program":"x","session":"1"}`: "the session has",
		`{"program":"x","session":"` + h.Session + `","name":"a b"}`: "is no name",
	} {
		if _, err := Read("x", []byte(meta)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", meta, err)
		}
	}
}

// A Delegate logs the first refusal at warn and the next ones at info.
func TestDelegate(t *testing.T) {
	var out bytes.Buffer
	d := NewDelegate("x", &cli.Tokens{}, slog.New(slog.NewTextHandler(&out, nil)))
	h := New("x", "", "")
	if id, err := d.GetClientID(7, h.Meta()); id != h.ClientID() || err != nil {
		t.Error(id, err)
	}
	for range 3 {
		if id, err := d.GetClientID(7, nil); id != 0 || err == nil {
			t.Error(id, err)
		}
	}
	if text := out.String(); strings.Count(text, "level=WARN") != 1 || strings.Count(text, "level=INFO") != 2 {
		t.Error(text)
	}
}
