// Package auth identifies the clients of the examples to their servers. A client describes
// itself in the meta of its End, and the delegate of the server admits it or refuses it.
package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/names"
)

// Hello is a client's description of itself, which travels as JSON in the meta of its End.
type Hello struct {
	Program string `json:"program"`         // the example that the client belongs to
	Name    string `json:"name,omitempty"`  // required if the server has a token for each name
	Token   string `json:"token,omitempty"` // required if the server has tokens
	// Session is a secret that the client makes when it starts. The client's id is derived
	// from it, so that no other client can replace the client's connection.
	Session string `json:"session"`
}

// leastSession is the least number of characters of a session. Shorter ones could be guessed.
const leastSession = 26

// New makes a Hello with a session of its own.
func New(program, name, token string) Hello {
	return Hello{Program: program, Name: name, Token: token, Session: rand.Text() + rand.Text()}
}

// Meta returns the Hello as the meta of an End.
func (h Hello) Meta() []byte {
	meta, err := json.Marshal(h)
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return meta
}

// ClientID is the id of the client with that session, never 0.
func (h Hello) ClientID() uint64 {
	sum := sha256.Sum256([]byte(h.Session))
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

// Read decodes and checks the meta of a client of the program. The text of its error is meant
// for the client.
func Read(program string, meta []byte) (Hello, error) {
	var h Hello
	if err := json.Unmarshal(meta, &h); err != nil || h.Program != program {
		return h, errors.New("this is not a client of " + program)
	}
	if len(h.Session) < leastSession {
		return h, fmt.Errorf("the session has less than %d characters", leastSession)
	}
	if h.Name != "" {
		return h, names.Check(h.Name)
	}
	return h, nil
}

// NameOf returns the name of the client of an End, empty if it has none.
func NameOf(end geminio.End) string {
	var h Hello
	if json.Unmarshal(end.Meta(), &h) != nil {
		return ""
	}
	return h.Name
}

// Delegate admits clients of a program that know the token. It logs each refusal at info, and
// at most one in a minute at warn.
type Delegate struct {
	*delegate.UnimplementedDelegate
	program string
	tokens  *cli.Tokens
	log     *slog.Logger
	seldom  *cli.Seldom
}

// NewDelegate makes a Delegate.
func NewDelegate(program string, tokens *cli.Tokens, log *slog.Logger) Delegate {
	return Delegate{program: program, tokens: tokens, log: log, seldom: new(cli.Seldom)}
}

// GetClientID implements delegate.ServerDelegate. The text of its error reaches the client.
func (d Delegate) GetClientID(_ uint64, meta []byte) (uint64, error) {
	h, err := Read(d.program, meta)
	if err == nil {
		err = d.tokens.Check(h.Name, h.Token)
	}
	if err != nil {
		// Repeated attempts of a stranger must not fill the log.
		level := slog.LevelInfo
		if d.seldom.Now("") {
			level = slog.LevelWarn
		}
		d.log.Log(context.Background(), level, "a client was refused", "name", cmp.Or(h.Name, "-"), "err", err)
		return 0, err
	}
	return h.ClientID(), nil
}
