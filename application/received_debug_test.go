//go:build geminiodebug

package application

import "github.com/singchia/geminio/packet"

// received counts a packet that a test passes to the End as one that has arrived.
func received(s *Stream, typ packet.Type, size int) { s.d.CountReceived(typ, size) }
