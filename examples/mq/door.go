package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/singchia/geminio/delegate"
)

// door is the broker's delegate: it lets in who knows the token.
type door struct {
	*delegate.UnimplementedDelegate
	token string // "": all may come in
}

// errToken reaches the client that is refused.
var errToken = errors.New("the broker wants another token (-token)")

// GetClientID implements delegate.ServerDelegate. It leaves the choice of the id to the
// library, which grants a client that reconnects the one that it had.
func (d door) GetClientID(_ uint64, meta []byte) (uint64, error) {
	var h hello
	if len(meta) > 0 {
		if err := json.Unmarshal(meta, &h); err != nil {
			return 0, fmt.Errorf("this is no client of mq: %w", err)
		}
	}
	if d.token == "" {
		return 0, nil
	}
	// Of sums, and not of the texts: so the time tells nothing of the length either.
	is, want := sha256.Sum256([]byte(h.Token)), sha256.Sum256([]byte(d.token))
	if subtle.ConstantTimeCompare(is[:], want[:]) != 1 {
		return 0, errToken
	}
	return 0, nil
}
