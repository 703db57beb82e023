//go:build geminiodebug

package multiplexer

// mayComeLate are the events that may come in a state for which no table has an entry.
// The peer or the end of the connection causes them, so this side cannot prevent them.
var mayComeLate = [events]bool{
	evWriteCut:  true,
	evPeerStop:  true,
	evPeerClose: true,
	evPeerReset: true,
	evHeartbeat: true,
	evConnClose: true,
	evConnEnd:   true,
}

// verifyEvent checks what d.on has done. The states before the event were life and send.
// m.mu is held.
func (d *Dialogue) verifyEvent(ev event, life lifeState, send sendState) {
	if d.life == life && d.send.state == send && !mayComeLate[ev] {
		bug("stream %d: event %q in the states %v and %v", d.id, ev, life, send)
	}
	if !d.life.fits(d.send.state, d.m.cause != nil) {
		bug("stream %d: event %q in the states %v and %v leads to %v and %v", d.id, ev, life, send, d.life, d.send.state)
	}
}

// fits tells whether the sending half of a dialogue can be in the state send while its life
// is in the state s. After the end of the connection, a dialogue that is gone may still have
// raw bytes to send.
func (s lifeState) fits(send sendState, connEnded bool) bool {
	switch s {
	case lifeNew, lifeOffered, lifeOpening:
		return send == sendReady
	case lifeOpen:
		return send != sendReady
	case lifeClosing, lifeFinishing:
		return send >= sendEnding
	case lifeGone:
		return send == sendEnded || connEnded && send >= sendEnding
	}
	return send == sendEnded
}
