package conn

import (
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// violation closes the connection because the peer violated the wire, and tells the
// peer why. Until the connection ends, violation reads and discards what the peer
// sends: closing a socket with unread data would send a reset, which could destroy the
// Close frame.
func (c *Conn) violation(err error) {
	err = fmt.Errorf("%w: %w", geminio.ErrProtocol, err)
	c.base.Log.Warn("closing the connection", "client", c.clientID, "err", err)
	c.Close(err, packet.Reason{Code: uint32(geminio.CodeProtocol), Text: err.Error()})
	for {
		if c.rb != nil {
			c.rb.Took(c.rb.Len())
		}
		if c.io.readMore() != nil {
			c.abort(err)
			return
		}
	}
}
