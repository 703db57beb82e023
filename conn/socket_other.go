//go:build !linux

package conn

import "sync/atomic"

// newTransport returns the transport for the net.Conn of l.
func newTransport(c *Conn, l *link) transport { return &plain{c: c, link: l} }

// sysBatch holds the arguments of system calls for a batch: none on this system.
type sysBatch struct{}

func (*sysBatch) reset() {}

// waker wakes the reading goroutine: not on this system, where the kernel is not asked.
type waker struct{ waits atomic.Bool }

func (*waker) wake()       {}
func (*waker) woken() bool { return false }
