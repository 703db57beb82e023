//go:build geminiodebug

package application

import "github.com/singchia/geminio/multiplexer"

// Mux returns the End's Mux, for multiplexer.Audit, in the debug build.
func (e *End) Mux() *multiplexer.Mux { return e.mux }
