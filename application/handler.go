package application

import (
	"cmp"
	"fmt"
	"io"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
)

// handler is the End in the role of the multiplexer.Handler of its Mux: it has the methods that
// the Mux calls. Most run on the reading goroutine, so none of them blocks.
type handler End

// Opened implements multiplexer.Handler: the peer opens a stream. Opened accepts or refuses it,
// after DialogueOnline if there is such a hook.
func (h *handler) Opened(d *multiplexer.Dialogue) {
	e := (*End)(h)
	s := e.newStream(d)
	s.onlinePosted = true
	e.countStream(s)
	hooks := &e.cfg.Hooks
	if hooks.DialogueOnline == nil && hooks.AcceptStream == nil {
		s.offlineDue = true
		d.Accept(true)
		return
	}
	e.events.post("DialogueOnline", func() {
		e.askDialogueOnline(s, func(why packet.Reason) {
			if why.Code != 0 {
				d.Refuse(why)
				e.uncountStream(s, &geminio.RefusedError{Code: geminio.Code(why.Code), Text: why.Text})
				return
			}
			s.offlineDue = true
			d.Accept(hooks.AcceptStream == nil)
		})
	})
	if hooks.AcceptStream != nil {
		e.events.post("the function of SetAcceptStreamFunc", func() {
			if !s.offlineDue {
				return
			}
			guard.Run(e.log, "the function of SetAcceptStreamFunc", func() {
				if out, ok := e.admit(s); ok {
					hooks.AcceptStream(out)
				}
			}, func(failed error) {
				if failed != nil {
					d.Reset(guard.Describe(e.log, failed))
				}
			})
		})
	}
}

// Accepted implements multiplexer.Handler: the peer has accepted a stream of this side.
func (h *handler) Accepted(d *multiplexer.Dialogue) {
	e := (*End)(h)
	s := d.Owner.(*Stream)
	e.countStream(s)
	e.events.post("DialogueOnline", func() {
		s.offlineDue = true
		e.askDialogueOnline(s, func(why packet.Reason) {
			if why.Code != 0 {
				d.Reset(why)
			}
		})
	})
	s.mu.Lock()
	s.onlinePosted = true
	ended := s.ended.Load()
	s.mu.Unlock()
	if ended {
		e.postStreamOffline(s, cmp.Or(e.Cause(), io.EOF))
	}
}

// askDialogueOnline calls DialogueOnline for a stream. After that, it calls the function then
// with the reason of the refusal, or with a zero Reason if the stream is not refused.
func (e *End) askDialogueOnline(s *Stream, then func(why packet.Reason)) {
	f := e.cfg.Hooks.DialogueOnline
	if f == nil {
		then(packet.Reason{})
		return
	}
	var why packet.Reason
	guard.Run(e.log, "DialogueOnline", func() {
		if err := f(s.d); err != nil {
			why = guard.Describe(e.log, err)
			if !guard.Choosable(geminio.Code(why.Code)) {
				why.Code = uint32(geminio.CodeApplication) // the other codes are about the connection
			}
		}
	}, func(failed error) {
		if failed != nil {
			why = guard.Describe(e.log, failed)
		}
		then(why)
	})
}

// Closed implements multiplexer.Handler: a stream has ended.
func (h *handler) Closed(d *multiplexer.Dialogue, cause error) {
	e := (*End)(h)
	s := d.Owner.(*Stream)
	s.mu.Lock()
	s.ended.Store(true)
	announced := s.onlinePosted
	s.mu.Unlock()
	s.endOperations(cause)
	if announced {
		e.postStreamOffline(s, cause)
	}
}

// postStreamOffline posts the hooks of the end of a stream, which has ended for a cause.
func (e *End) postStreamOffline(s *Stream, cause error) {
	if f := e.cfg.Hooks.DialogueOffline; f != nil {
		e.events.post("DialogueOffline", func() {
			if s.offlineDue {
				f(s.d)
			}
		})
	}
	e.events.post("the function of SetClosedStreamFunc", func() {
		defer e.checkIdle()
		defer s.d.Forget()
		if f := e.cfg.Hooks.ClosedStream; f != nil && s.offlineDue {
			f(s)
		}
	})
	e.uncountStream(s, cause)
}

// countStream counts a stream in e.streams, so that the hook of the connection's end is posted
// after the hooks of the stream's end.
func (e *End) countStream(s *Stream) {
	e.mu.Lock()
	n := &e.streams[s.direction()]
	n.begun++
	n.open++
	e.mu.Unlock()
	e.streamBegins(s)
}

// uncountStream undoes countStream, once, when the stream has ended for a cause or was refused. If s
// was the last stream and the End has ended, it posts the hook of the connection's end.
func (e *End) uncountStream(s *Stream, cause error) {
	s.mu.Lock()
	done := s.uncounted
	s.uncounted = true
	s.mu.Unlock()
	if done {
		return
	}
	e.streamEnds(s, cause)
	e.mu.Lock()
	e.streams[s.direction()].open--
	last := e.openStreams() == 0 && e.cause != nil
	e.mu.Unlock()
	if last {
		e.postOffline()
	}
}

// direction returns geminio.Outgoing if this side has opened the stream.
func (s *Stream) direction() geminio.Direction {
	if s.Side() == geminio.InitiatorSide {
		return geminio.Outgoing
	}
	return geminio.Incoming
}

// postOffline posts the hook of the connection's end, after all others.
func (e *End) postOffline() {
	if f := e.cfg.Hooks.Offline; f != nil {
		e.events.last("ConnOffline", func() { f(e.c) })
	} else {
		e.events.close()
	}
}

// OnIdle implements multiplexer.Handler: Mux.Idle may have become true.
func (h *handler) OnIdle() { (*End)(h).checkIdle() }

// OnGoAwayAcked implements multiplexer.Handler: the peer has acknowledged the goaway of Shutdown.
func (h *handler) OnGoAwayAcked() {
	e := (*End)(h)
	if e.drain.Load() == drainLast && e.idle() {
		e.drain.Store(drainOver)
		e.mu.Lock()
		defer e.mu.Unlock()
		close(e.drained)
		return
	}
	e.drain.Store(drainWaits)
	e.checkIdle()
}

// maxQueuedPings bounds the calls of the Heartbeat hook that are queued.
const maxQueuedPings = 16

// OnPing implements multiplexer.Handler: a heartbeat of the peer has arrived. OnPing drops it if
// maxQueuedPings calls of the hook are queued. The End may have become idle since the last
// heartbeat, so OnPing frees what the tables keep for reuse.
func (h *handler) OnPing() {
	h.pending.trim()
	h.serving.trim()
	f := h.cfg.Hooks.Heartbeat
	if f == nil || h.queuedPings.Load() >= maxQueuedPings {
		return
	}
	h.queuedPings.Add(1)
	(*End)(h).events.post("Heartbeat", func() {
		h.queuedPings.Add(-1)
		f(h.c)
	})
}

// GoAway implements multiplexer.Handler: the peer is shutting down.
func (h *handler) GoAway(n packet.Reason) {
	h.peerGoAway.Store(&n)
	if f := h.cfg.Hooks.GoAway; f != nil {
		f(n)
	}
}

// End implements multiplexer.Handler: the connection has ended.
func (h *handler) End(cause error) {
	e := (*End)(h)
	e.mu.Lock()
	e.cause = cause
	abandoned := e.phase == phaseAbandoned // the handshake calls the hooks of its end
	last := e.openStreams() == 0
	e.mu.Unlock()
	close(e.done)
	e.pending.end()
	e.Stream.endOperations(cause)
	for _, v := range e.serving.endAll() {
		v.ends(e, io.EOF)
	}
	e.workers.end()
	if abandoned {
		return
	}
	e.endsWith(cause)
	if last {
		e.postOffline()
	}
	if f := e.cfg.Hooks.Done; f != nil {
		f()
	}
}

// Packet implements multiplexer.Handler: a packet of the peer is complete. owned says that body
// is not reused afterwards. An error ends the connection.
func (h *handler) Packet(d *multiplexer.Dialogue, typ packet.Type, seq uint64, body []byte, owned bool) error {
	e := (*End)(h)
	s := d.Owner.(*Stream)
	if seq == 0 && (typ == packet.TypeRequest || typ == packet.TypeRegister) {
		return errNoNumber(typ)
	}
	switch typ {
	case packet.TypeRequest:
		return e.takeRequest(s, seq, body, owned)
	case packet.TypeResponse:
		return e.takeResponse(s, seq, body, owned)
	case packet.TypeMessage:
		return e.takeMessage(s, seq, body, owned)
	case packet.TypeRegister:
		return e.takeRegister(s, seq, body)
	case packet.TypeAck, packet.TypeRegistered, packet.TypeCancel:
		a, err := packet.ParseAnswer(typ, body)
		if err != nil {
			return err
		}
		if typ != packet.TypeCancel {
			return e.takeAnswer(s, seq, typ, a)
		}
		e.cancel(s, seq, a)
		return nil
	}
	return &packet.Error{What: typ.String(), Reason: fmt.Sprintf("no packet of type 0x%02x is known", uint8(typ))}
}

// errNoNumber returns the error of a peer that sends a packet without a number although the
// packet needs an answer.
func errNoNumber(typ packet.Type) error {
	return &packet.Error{What: typ.String(), Reason: "the number 0 is that of messages without an answer"}
}

// remoteError returns the error with the code and text of the peer, or nil for CodeOK.
func remoteError(code uint32, text string) error {
	if code == uint32(geminio.CodeOK) {
		return nil
	}
	return &geminio.RemoteError{Code: geminio.Code(code), Text: text}
}
