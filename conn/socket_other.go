//go:build !linux

package conn

// newTransport returns the transport for the net.Conn of l.
func newTransport(c *Conn, l *link) transport { return &plain{c: c, link: l} }

// sysBatch holds the arguments of system calls for a batch: none on this system.
type sysBatch struct{}

func (*sysBatch) reset() {}
