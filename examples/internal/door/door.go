// Package door is who is let in by the servers of the examples: a client says who it is in
// the meta of its End, and the server's delegate decides about it.
package door

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

	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/names"
)

// Hello is what a client says of itself. It is JSON in the meta of its End.
type Hello struct {
	Program string `json:"program"`         // that the client is one of
	Name    string `json:"name,omitempty"`  // may be needed, see cli.Tokens
	Token   string `json:"token,omitempty"` // may be needed
	// Session is a secret that the client makes at its start. The client's id follows from
	// it, so that nobody else can take the place of the client's connection.
	Session string `json:"session"`
}

// leastSession is how many characters make a session that cannot be guessed.
const leastSession = 26

// New makes a Hello with a session of its own.
func New(program, name, token string) Hello {
	return Hello{Program: program, Name: name, Token: token, Session: rand.Text() + rand.Text()}
}

// Meta returns the meta of an End.
func (h Hello) Meta() []byte {
	meta, err := json.Marshal(h)
	if err != nil {
		panic(err) // strings always can be
	}
	return meta
}

// ClientID is the id of the client with that session, never 0.
func (h Hello) ClientID() uint64 {
	sum := sha256.Sum256([]byte(h.Session))
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

// Read reads and checks the meta of a client of that program. The text of its error is for
// the client.
func Read(program string, meta []byte) (Hello, error) {
	var h Hello
	if err := json.Unmarshal(meta, &h); err != nil || h.Program != program {
		return h, errors.New("this is no client of " + program)
	}
	if len(h.Session) < leastSession {
		return h, fmt.Errorf("a session has %d characters or more", leastSession)
	}
	if h.Name != "" {
		return h, names.Check(h.Name)
	}
	return h, nil
}

// Delegate lets in clients of a program that know the token. It logs at warn, once in a
// while, that one was not let in, and at info each time.
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
		// A stranger who tries again and again is not to fill the log.
		level := slog.LevelInfo
		if d.seldom.Now("") {
			level = slog.LevelWarn
		}
		d.log.Log(context.Background(), level, "a client was not let in", "name", cmp.Or(h.Name, "-"), "err", err)
		return 0, err
	}
	return h.ClientID(), nil
}
