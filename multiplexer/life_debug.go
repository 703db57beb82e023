//go:build geminiodebug

package multiplexer

// mayComeLate are the events that may come in a state for which no table has an entry.
// They are not this side's own decisions: it cannot keep them from coming.
var mayComeLate = [events]bool{
	evWriteCut:  true,
	evPeerStop:  true,
	evPeerClose: true,
	evPeerReset: true,
	evHeartbeat: true,
	evConnClose: true,
	evConnEnd:   true,
}

// verifyEvent checks what d.on has done, in the debug build. The states before the event
// were life and send.
func (d *Dialogue) verifyEvent(ev event, life lifeState, send sendState) {
	if d.life == life && d.send.state == send && !mayComeLate[ev] {
		bug("stream %d: event %q in the states %v and %v", d.id, ev, life, send)
	}
	d.verifyStates()
}

// verifyStates checks that the state of the sending half is one that goes with that of the
// dialogue's life. m.mu is held.
func (d *Dialogue) verifyStates() {
	send, fits := d.send.state, false
	switch d.life {
	case lifeNew, lifeOffered, lifeOpening:
		fits = send == sendReady
	case lifeOpen:
		fits = send != sendReady
	case lifeClosing, lifeFinishing:
		fits = send >= sendEnding
	case lifeGone:
		fits = send == sendEnded || d.m.cause != nil && send >= sendEnding
	default:
		fits = send == sendEnded
	}
	if !fits {
		bug("stream %d: the sending half is in state %v, the life in state %v", d.id, send, d.life)
	}
}
