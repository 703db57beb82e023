//go:build !linux

package conn

// newTransport returns the transport for c's net.Conn.
func newTransport(c *Conn) transport { return &plain{c: c} }

// sysBatch is what system calls need of a batch: nothing here.
type sysBatch struct{}

func (*sysBatch) reset() {}
