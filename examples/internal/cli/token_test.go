package cli

import (
	"bytes"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const variable = "GEMINIO_TEST_TOKEN"

// secret makes a file with that mode.
func secret(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// load reads the tokens of a server with those flags.
func load(t *testing.T, args ...string) (*Tokens, error) {
	t.Helper()
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	tokens := ServerTokenFlags(flags, variable)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return tokens.Load()
}

func TestTokens(t *testing.T) {
	file := secret(t, "the token of all\nand a comment", 0o600)
	table := secret(t, "ada = \"the token of ada\"\n\"боб\" = \"the token of bob\"\n", 0o400)
	for _, c := range []struct {
		args        []string
		name, token string
		ok          bool
	}{
		{nil, "", "", true},
		{nil, "ada", "whatever", true},
		{[]string{"-token-file", file}, "", "the token of all", true},
		{[]string{"-token-file", file}, "ada", "the token of all", true},
		{[]string{"-token-file", file}, "", "", false},
		{[]string{"-token-file", file}, "", "the token of al", false},
		{[]string{"-tokens", table}, "ada", "the token of ada", true},
		{[]string{"-tokens", table}, "боб", "the token of bob", true},
		{[]string{"-tokens", table}, "ada", "the token of bob", false},
		{[]string{"-tokens", table}, "", "the token of ada", false},
		{[]string{"-tokens", table}, "eve", "", false},
		{[]string{"-tokens", table}, "eve", "the token of ada", false},
		{[]string{"-tokens", table, "-token-file", file}, "ada", "the token of all", false},
		{[]string{"-tokens", table, "-token-file", file}, "eve", "the token of all", true},
		{[]string{"-tokens", table, "-token-file", file}, "ada", "the token of ada", true},
	} {
		tokens, err := load(t, c.args...)
		if err != nil {
			t.Fatal(c.args, err)
		}
		if err := tokens.Check(c.name, c.token); (err == nil) != c.ok || err != nil && err != ErrToken {
			t.Errorf("%v: %q with %q: %v", c.args, c.name, c.token, err)
		}
	}
	tokens, err := load(t, "-tokens", table)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"ada": "", "eve": "", "аdа": "ada", "ADA": "ada"} {
		if got := tokens.Reserved(name); got != want {
			t.Errorf("Reserved(%+q) is %q", name, got)
		}
	}
}

// What others can read or guess is no secret, and what makes no sense is not used.
func TestBadTokens(t *testing.T) {
	for want, args := range map[string][]string{
		"chmod 600":                      {"-token-file", secret(t, "readable by all", 0o644)},
		"(mode 0640)":                    {"-token-file", secret(t, "readable by a group", 0o640)},
		"or change":                      {"-tokens", secret(t, "ada = \"writable by all\"", 0o602)},
		"less than 8 characters":         {"-token-file", secret(t, "short\n", 0o600)},
		"of ada has less than":           {"-tokens", secret(t, "ada = \"short\"", 0o600)},
		"no such file":                   {"-token-file", filepath.Join(t.TempDir(), "none")},
		"has no tokens":                  {"-tokens", secret(t, "# nobody", 0o600)},
		"is no name":                     {"-tokens", secret(t, "\"a b\" = \"a good token\"", 0o600)},
		"look alike":                     {"-tokens", secret(t, "paypal = \"a good token\"\n\"раураl\" = \"another token\"", 0o600)},
		"toml: line 1":                   {"-tokens", secret(t, "ada: a good token", 0o600)},
		"incompatible types: TOML value": {"-tokens", secret(t, "ada = 123456789", 0o600)},
	} {
		_, err := load(t, args...)
		if usage := new(UsageError); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, and not %q", args, err, want)
		}
	}
	t.Setenv(variable, "short")
	if _, err := load(t); err == nil || !strings.Contains(err.Error(), variable) {
		t.Error(err)
	}
}

func TestClientToken(t *testing.T) {
	load := func(args ...string) (string, string, error) {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		token := ClientTokenFlags(flags, variable).NameFlag(flags)
		if err := flags.Parse(args); err != nil {
			t.Fatal(err)
		}
		return token.Load()
	}
	if name, token, err := load(); name+token != "" || err != nil {
		t.Error(name, token, err)
	}
	if _, _, err := load("-name", "a b"); err == nil {
		t.Error("a b is a name")
	}
	t.Setenv(variable, "from the environment")
	if _, token, err := load(); token != "from the environment" || err != nil {
		t.Error(token, err)
	}
	file := secret(t, " from the file \n", 0o600)
	if name, token, err := load("-name", "ada", "-token-file", file); name != "ada" || token != "from the file" || err != nil {
		t.Error(name, token, err)
	}
}

func TestWarnPlain(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:1": false, "[::1]:1": false, "localhost:1": false, "127.1.2.3:1": false,
		":1": true, "0.0.0.0:1": true, "10.0.0.1:1": true, "example.com:1": true, "[2001:db8::1]:1": true,
	} {
		for _, token := range []bool{true, false} {
			for _, tls := range []bool{true, false} {
				var out bytes.Buffer
				WarnPlain(slog.New(slog.NewTextHandler(&out, nil)), addr, token, tls)
				if warned := strings.Contains(out.String(), "level=WARN"); warned != (want && token && !tls) {
					t.Errorf("%s, token %v, TLS %v: %q", addr, token, tls, out.String())
				}
			}
		}
	}
}
