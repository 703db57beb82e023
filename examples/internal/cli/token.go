package cli

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/singchia/geminio/examples/internal/names"
)

// Tokens are secrets that authenticate clients. They are in files and not on the
// command line, which every user of a machine can read.

// ClientToken has the flags of a side that sends a token: -token-file, and -name.
type ClientToken struct {
	file, name, variable string
}

// ClientTokenFlags adds the flags. The token can also be in the environment variable.
func ClientTokenFlags(flags *flag.FlagSet, variable string) *ClientToken {
	t := &ClientToken{variable: variable}
	flags.StringVar(&t.file, "token-file", "", "show the server the token in the first line of `FILE`, which others must not be able to read; or it is in the environment, as "+variable)
	return t
}

// NameFlag adds the flag -name, for programs whose clients have no other name.
func (t *ClientToken) NameFlag(flags *flag.FlagSet) *ClientToken {
	flags.StringVar(&t.name, "name", "", "be the client `NAME`, which a server with -tokens needs")
	return t
}

// Load returns the name of -name, and the token or "". Its error is a *UsageError.
func (t *ClientToken) Load() (name, token string, err error) {
	if t.name != "" {
		if err := names.Check(t.name); err != nil {
			return "", "", Usagef("-name: %v", err)
		}
	}
	token, err = tokenOf(t.file, t.variable)
	return t.name, token, err
}

// ServerTokens has the flags of a side that requires tokens: -token-file and -tokens.
type ServerTokens struct {
	file, table, variable string
}

// ServerTokenFlags adds the flags. The token of all clients can also be in the environment
// variable.
func ServerTokenFlags(flags *flag.FlagSet, variable string) *ServerTokens {
	t := &ServerTokens{variable: variable}
	flags.StringVar(&t.file, "token-file", "", "let in clients that know the token in the first line of `FILE`, which others must not be able to read; or it is in the environment, as "+variable)
	flags.StringVar(&t.table, "tokens", "", `let in clients by name, each with a token of its own: the TOML `+"`FILE`"+` has lines like ada = "TOKEN"; these names are not open to those who know the token of -token-file`)
	return t
}

// Load reads the tokens. Its error is a *UsageError.
func (t *ServerTokens) Load() (*Tokens, error) {
	tokens := &Tokens{}
	shared, err := tokenOf(t.file, t.variable)
	if err != nil {
		return nil, err
	}
	if shared != "" {
		sum := sha256.Sum256([]byte(shared))
		tokens.shared = &sum
	}
	if t.table != "" {
		if err := tokens.readTable(t.table); err != nil {
			return nil, Usagef("-tokens: %v", err)
		}
	}
	return tokens, nil
}

// Tokens has the tokens of clients. It does not change, so it is safe for concurrent use.
type Tokens struct {
	shared *[sha256.Size]byte // the sum of the common token; nil: there is none
	named  map[string][sha256.Size]byte
}

// shortest is the least length of a token, since a shorter one could be guessed. longest bounds
// the bytes that are read of a token.
const shortest, longest = 8, 4 << 10

// readTable reads a table of names and tokens.
func (t *Tokens) readTable(file string) error {
	text, err := readSecret(file, 1<<20)
	if err != nil {
		return err
	}
	var table map[string]string
	if _, err := toml.Decode(string(text), &table); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if len(table) == 0 {
		return fmt.Errorf("%s has no tokens", file)
	}
	t.named = make(map[string][sha256.Size]byte)
	var all []string
	for name, token := range table {
		if err := names.Check(name); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if len(token) < shortest {
			return fmt.Errorf("%s: the token of %s has less than %d characters", file, name, shortest)
		}
		if i := slices.IndexFunc(all, func(other string) bool { return names.Alike(name, other) }); i >= 0 {
			return fmt.Errorf("%s: the names %+q and %+q look alike", file, all[i], name)
		}
		all = append(all, name)
		t.named[name] = sha256.Sum256([]byte(token))
	}
	return nil
}

// ErrToken is the reason for refusing a client. Its text reaches the client.
var ErrToken = errors.New("the server wants another token (-token-file), or another -name")

// Check returns ErrToken if the token is not valid for a client of that name. Neither the error
// nor the time that Check takes reveals whether the name exists.
func (t *Tokens) Check(name, token string) error {
	if !t.Wanted() {
		return nil
	}
	is := sha256.Sum256([]byte(token))
	var want [sha256.Size]byte // no token has this sum
	if t.shared != nil {
		want = *t.shared
	}
	if own, ok := t.named[name]; ok {
		want = own
	}
	if subtle.ConstantTimeCompare(is[:], want[:]) != 1 {
		return ErrToken
	}
	return nil
}

// Wanted tells whether clients need a token.
func (t *Tokens) Wanted() bool { return t.shared != nil || t.named != nil }

// Reserved returns another name that looks like the given one and has a token of its own, and
// "" if there is no such name.
func (t *Tokens) Reserved(name string) string {
	if _, ok := t.named[name]; ok {
		return ""
	}
	for other := range t.named {
		if names.Alike(name, other) {
			return other
		}
	}
	return ""
}

// tokenOf returns the token in the first line of a file, or in the environment variable if
// there is no file; "" if there is none.
func tokenOf(file, variable string) (string, error) {
	token, where := os.Getenv(variable), variable
	if file != "" {
		text, err := readSecret(file, longest)
		if err != nil {
			return "", Usagef("-token-file: %v", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		token, where = strings.TrimSpace(line), "the first line of "+file
	} else if token == "" {
		return "", nil
	}
	if len(token) < shortest {
		return "", Usagef("the token in %s has less than %d characters", where, shortest)
	}
	return token, nil
}

// readSecret reads a file that others cannot read or change.
func readSecret(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("others can read or change %s (mode %#o): chmod 600 %s", name, mode, name)
	}
	return io.ReadAll(io.LimitReader(file, most))
}

// WarnPlain logs a warning if a token would travel to or from another machine without TLS.
func WarnPlain(log *slog.Logger, addr string, token, tls bool) {
	if token && !tls && !loopback(addr) {
		log.Warn("THE TOKEN TRAVELS WITHOUT TLS: everyone on the network path can read and use it. See the flags -tls and -pin", "addr", addr)
	}
}

// loopback tells whether an address is that of this machine.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
