//go:build geminiodebug

package application

import "github.com/singchia/geminio/packet"

// received counts a packet that a test hands over by itself as one that has come.
func received(s *Stream, typ packet.Type, size int) { s.d.CountReceived(typ, size) }
