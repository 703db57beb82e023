//go:build !linux

package conn

// newTransport returns the transport for c's net.Conn.
func newTransport(c *Conn) transport { return &plain{c: c} }

// sysBatch holds the arguments of system calls for a batch: none on this system.
type sysBatch struct{}

func (*sysBatch) reset() {}
