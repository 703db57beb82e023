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

// greeting is a node's description of itself. It travels in the handshake as the meta of the
// node's End.
type greeting struct {
	Node     string   `json:"node"`
	Token    string   `json:"token"`
	Services []string `json:"services"`
}

// validName matches the names of nodes and services.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// encode returns the greeting as a meta.
func (g greeting) encode() []byte {
	meta, err := json.Marshal(g)
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return meta
}

// decodeGreeting decodes a meta and checks the name of the node.
func decodeGreeting(meta []byte) (greeting, error) {
	var g greeting
	if err := json.Unmarshal(meta, &g); err != nil {
		return g, errors.New("this is not a traversal node")
	}
	if !validName.MatchString(g.Node) {
		return g, fmt.Errorf("invalid node name %q", g.Node)
	}
	return g, nil
}

// admission is the server's delegate. It admits nodes or refuses them. The text of its error
// reaches the node.
type admission struct {
	*delegate.UnimplementedDelegate
	tokens *cli.Tokens
	log    *slog.Logger
}

// GetClientID admits nodes with the right token: the token of their name, or that of all nodes. All
// Ends of a node get the same id, which is derived from its name. So the library ends the old
// connection when a node connects again.
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
