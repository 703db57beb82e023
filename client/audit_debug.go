//go:build geminiodebug

package client

import "github.com/singchia/geminio/multiplexer"

// Mux returns the multiplexer of the last connection. It exists in the debug build only, in which
// tests compare the ledgers of both sides.
func (r *RetryEnd) Mux() *multiplexer.Mux { return r.last.Load().e.Mux() }
