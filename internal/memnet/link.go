package memnet

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// Link is a connection with two ends. Its methods cause faults. They, and those of the ends,
// are safe for concurrent use.
type Link struct {
	// Near and Far are the ends: that of the side that dialled, and that of the listener.
	Near, Far *Conn

	ended func() // called once, without a lock, when no end is open; may be nil

	mu    sync.Mutex
	out   direction     // from Near to Far
	back  direction     // from Far to Near
	delay time.Duration // the time between a Write and the arrival of its bytes
	held  bool          // no byte arrives
	dead  bool          // held stays true
	open  int           // how many ends are open
}

// NewLink returns a connection between two addresses. The function ended is called when both ends
// are closed or the Link is cut; it may be nil.
func NewLink(near, far net.Addr, ended func()) *Link {
	l := &Link{ended: ended, open: 2}
	l.out.init(l, &l.back)
	l.back.init(l, &l.out)
	l.Near = &Conn{link: l, rx: &l.back, tx: &l.out, local: near, remote: far}
	l.Far = &Conn{link: l, rx: &l.out, tx: &l.back, local: far, remote: near}
	return l
}

// SetDelay sets the time between a Write and the arrival of its bytes, for later Writes. It
// applies to the end of the bytes too. The bytes of a direction stay in order.
func (l *Link) SetDelay(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

// SetHeld makes the Link a black hole, or ends that. While the Link is a black hole, nothing
// arrives in either direction, also no end of the connection. Write takes bytes until the buffer
// is full. The bytes arrive afterwards.
func (l *Link) SetHeld(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held || l.dead
	l.out.land()
	l.back.land()
}

// Held reports whether the Link is a black hole.
func (l *Link) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// Cut breaks the connection: Read and Write of both ends return syscall.ECONNRESET from now on,
// and all bytes on their way are lost. An end that is closed continues to return net.ErrClosed.
func (l *Link) Cut() {
	l.mu.Lock()
	for _, d := range []*direction{&l.out, &l.back} {
		d.fail(&d.readErr, syscall.ECONNRESET)
		d.fail(&d.writeErr, syscall.ECONNRESET)
		d.clear()
	}
	l.unlock(l.Near.end() + l.Far.end())
}

// CutNear breaks the connection for Near alone. For Far it becomes a black hole that does not
// end.
func (l *Link) CutNear() {
	l.mu.Lock()
	l.back.fail(&l.back.readErr, syscall.ECONNRESET)
	l.out.fail(&l.out.writeErr, syscall.ECONNRESET)
	l.held, l.dead = true, true
	l.unlock(l.Near.end())
}

// unlock unlocks mu after so many ends were closed or cut.
func (l *Link) unlock(ends int) {
	last := ends > 0 && l.open == ends
	l.open -= ends
	l.mu.Unlock()
	if last && l.ended != nil {
		l.ended()
	}
}
