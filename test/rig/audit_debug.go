//go:build geminiodebug

package rig

import (
	"github.com/singchia/geminio"
	"github.com/singchia/geminio/multiplexer"
)

// Audits is 1 if Audit compares ledgers, and 0 otherwise.
const Audits = 1

// Audit compares the ledgers of both Ends of an idle connection, in the debug build: no call or
// message is in flight, and all messages were received. Its error names all lost credit.
func Audit(a, b geminio.End) error {
	type audited interface{ Mux() *multiplexer.Mux }
	return multiplexer.Audit(a.(audited).Mux(), b.(audited).Mux())
}
