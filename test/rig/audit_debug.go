//go:build geminiodebug

package rig

import (
	"github.com/singchia/geminio"
	"github.com/singchia/geminio/multiplexer"
)

// Audits is 1 if Audit finds anything, else 0.
const Audits = 1

// Audit compares the ledgers of both Ends of a connection that is at rest, in the debug
// build: no call or message is under way, and all messages were received. Its error names
// all credit that is lost.
func Audit(a, b geminio.End) error {
	type audited interface{ Mux() *multiplexer.Mux }
	return multiplexer.Audit(a.(audited).Mux(), b.(audited).Mux())
}
