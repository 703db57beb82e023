package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"regexp"

	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/metadata"
)

// greeting is a node's description of itself. It travels in the metadata of the handshake.
type greeting struct {
	node, token string
	services    []string
}

// The keys of a greeting in the metadata. There is a service for each value of keyService.
const (
	keyNode    = "node"
	keyToken   = "token"
	keyService = "service"
)

// validName matches the names of nodes and services.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// metadata returns the greeting as metadata.
func (g greeting) metadata() metadata.MD {
	return metadata.MD{keyNode: {g.node}, keyToken: {g.token}, keyService: g.services}
}

// greetingOf is the reverse of metadata.
func greetingOf(md metadata.MD) greeting {
	g := greeting{services: md.Get(keyService)}
	if names := md.Get(keyNode); len(names) > 0 {
		g.node = names[0]
	}
	if tokens := md.Get(keyToken); len(tokens) > 0 {
		g.token = tokens[0]
	}
	return g
}

// admission is the server's delegate. It admits nodes or refuses them. The text of its error
// reaches the node.
type admission struct {
	*delegate.UnimplementedDelegate
	tokens *cli.Tokens
	log    *slog.Logger
}

// Authenticate admits nodes with the right token: the token of their name, or that of all nodes. All
// Ends of a node get the same id, which is derived from its name. So the library ends the old
// connection when a node connects again.
func (d *admission) Authenticate(_ context.Context, node delegate.ConnInfo) (uint64, error) {
	g := greetingOf(node.Metadata)
	var err error
	switch {
	case g.node == "":
		err = errors.New("this is not a traversal node")
	case !validName.MatchString(g.node):
		err = fmt.Errorf("invalid node name %q", g.node)
	case d.tokens.Check(g.node, g.token) != nil:
		err = errors.New("wrong token")
	}
	if err != nil {
		d.log.Warn("a node was refused", "node", g.node, "err", err)
		return 0, err
	}
	name := sha256.Sum256([]byte(g.node))
	return max(1, binary.BigEndian.Uint64(name[:])), nil
}
