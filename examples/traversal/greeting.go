package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"

	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/cli"
)

// greeting is what a node says of itself. It travels as the meta of its End, in the
// handshake.
type greeting struct {
	Node     string   `json:"node"`
	Token    string   `json:"token"`
	Services []string `json:"services"`
}

// validName is what the names of nodes and services look like.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// encode makes the meta of the greeting.
func (g greeting) encode() []byte {
	meta, err := json.Marshal(g)
	if err != nil {
		panic(err) // strings always can be
	}
	return meta
}

// decodeGreeting reads a meta.
func decodeGreeting(meta []byte) (greeting, error) {
	var g greeting
	if err := json.Unmarshal(meta, &g); err != nil {
		return g, errors.New("this is no traversal node")
	}
	if !validName.MatchString(g.Node) {
		return g, fmt.Errorf("bad node name %q", g.Node)
	}
	return g, nil
}

// admission admits nodes or refuses them. The text of its error
// reaches the node.
type admission struct {
	*delegate.UnimplementedDelegate
	tokens *cli.Tokens
	log    *slog.Logger
}

// GetClientID lets in nodes that know the token, theirs if they have one of their own. All
// Ends of a node get the same id, which is made of its name: so the library ends the old
// connection when a new one comes.
func (d *admission) GetClientID(_ uint64, meta []byte) (uint64, error) {
	g, err := decodeGreeting(meta)
	if err != nil {
		d.log.Warn("a node was refused", "err", err)
		return 0, err
	}
	if d.tokens.Check(g.Node, g.Token) != nil {
		d.log.Warn("a node was refused", "node", g.Node, "err", "wrong token")
		return 0, errors.New("wrong token")
	}
	name := sha256.Sum256([]byte(g.Node))
	return max(1, binary.BigEndian.Uint64(name[:])), nil
}
