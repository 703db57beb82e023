package application

import (
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/multiplexer"
	"github.com/singchia/geminio/packet"
)

// handler is the End with the methods that its Mux calls.
type handler End

// Opened implements multiplexer.Handler.
func (h *handler) Opened(d *multiplexer.Dialogue) {
	e := (*End)(h)
	s := e.newStream(d)
	s.announced = true
	e.join()
	hooks := &e.cfg.Hooks
	if hooks.DialogueOnline == nil && hooks.AcceptStream == nil {
		s.online = true
		d.Accept(true)
		return
	}
	e.events.post("DialogueOnline", func() {
		e.decide(s, func(why packet.Reason) {
			if why.Code != 0 {
				d.Refuse(why)
				e.leave(s)
				return
			}
			s.online = true
			d.Accept(hooks.AcceptStream == nil)
		})
	})
	if hooks.AcceptStream != nil {
		e.events.post("the function of SetAcceptStreamFunc", func() {
			if !s.online {
				return
			}
			guard.Run(e.log, "the function of SetAcceptStreamFunc", func() { hooks.AcceptStream(s) }, func(failed error) {
				if failed != nil {
					d.Reset(guard.Describe(e.log, failed))
				}
			})
		})
	}
}

// Accepted implements multiplexer.Handler.
func (h *handler) Accepted(d *multiplexer.Dialogue) {
	e := (*End)(h)
	s := d.Owner.(*Stream)
	e.join()
	e.events.post("DialogueOnline", func() {
		s.online = true
		e.decide(s, func(why packet.Reason) {
			if why.Code != 0 {
				d.Reset(why)
			}
		})
	})
	s.mu.Lock()
	s.announced = true
	ended := s.ended.Load()
	s.mu.Unlock()
	if ended {
		e.streamOffline(s)
	}
}

// decide calls DialogueOnline for a stream that opens, and then calls then with the reason
// of a refusal, or with a zero Reason if the stream is not refused.
func (e *End) decide(s *Stream, then func(why packet.Reason)) {
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

// Closed implements multiplexer.Handler.
func (h *handler) Closed(d *multiplexer.Dialogue, cause error) {
	e := (*End)(h)
	s := d.Owner.(*Stream)
	s.mu.Lock()
	s.ended.Store(true)
	announced := s.announced
	s.mu.Unlock()
	s.endWork(cause)
	if announced {
		e.streamOffline(s)
	}
}

// streamOffline posts the hooks of a stream's end.
func (e *End) streamOffline(s *Stream) {
	if f := e.cfg.Hooks.DialogueOffline; f != nil {
		e.events.post("DialogueOffline", func() {
			if s.online {
				f(s.d)
			}
		})
	}
	e.events.post("the function of SetClosedStreamFunc", func() {
		defer e.settle()
		defer s.d.Forget()
		if f := e.cfg.Hooks.ClosedStream; f != nil && s.online {
			f(s)
		}
	})
	e.leave(s)
}

// join counts a stream whose hooks of its end are called before that of the connection.
func (e *End) join() {
	e.mu.Lock()
	e.live++
	e.mu.Unlock()
}

// leave takes a stream from the count of join, once. If it was the last one and the End has
// ended, it posts the hook of the connection's end.
func (e *End) leave(s *Stream) {
	s.mu.Lock()
	again := s.gone
	s.gone = true
	s.mu.Unlock()
	if again {
		return
	}
	e.mu.Lock()
	e.live--
	last := e.live == 0 && e.cause != nil
	e.mu.Unlock()
	if last {
		e.offline()
	}
}

// offline posts the hook of the connection's end, after all others.
func (e *End) offline() {
	e.events.last("ConnOffline", func() {
		if f := e.cfg.Hooks.Offline; f != nil {
			f(e.c)
		}
	})
}

// OnIdle implements multiplexer.Handler.
func (h *handler) OnIdle() { (*End)(h).settle() }

// OnGoAwayAcked implements multiplexer.Handler.
func (h *handler) OnGoAwayAcked() {
	e := (*End)(h)
	if e.drain.Load() == drainLast && e.idle() {
		e.drain.Store(drainOver)
		e.mu.Lock()
		defer e.mu.Unlock()
		close(e.quiet)
		return
	}
	e.drain.Store(drainWaits)
	e.settle()
}

// maxBeats bounds the calls of the Heartbeat hook that are queued.
const maxBeats = 16

// OnPing implements multiplexer.Handler. It drops heartbeats that come faster than the hook
// returns.
func (h *handler) OnPing() {
	f := h.cfg.Hooks.Heartbeat
	if f == nil || h.beats.Load() >= maxBeats {
		return
	}
	h.beats.Add(1)
	(*End)(h).events.post("Heartbeat", func() {
		h.beats.Add(-1)
		f(h.c)
	})
}

// GoAway implements multiplexer.Handler.
func (h *handler) GoAway(n packet.Reason) {
	h.away.Store(&n)
	if f := h.cfg.Hooks.GoAway; f != nil {
		f(n)
	}
}

// End implements multiplexer.Handler.
func (h *handler) End(cause error) {
	e := (*End)(h)
	e.mu.Lock()
	e.cause = cause
	last := e.live == 0
	e.mu.Unlock()
	close(e.done)
	e.pending.end()
	e.Stream.endWork(cause)
	e.serving.endAll()
	e.workers.end()
	if last {
		e.offline()
	}
	if f := e.cfg.Hooks.Done; f != nil {
		f()
	}
}

// Packet implements multiplexer.Handler.
func (h *handler) Packet(d *multiplexer.Dialogue, typ packet.Type, call uint64, body []byte, owned bool) error {
	e := (*End)(h)
	s := d.Owner.(*Stream)
	if call == 0 && (typ == packet.TypeRequest || typ == packet.TypeRegister) {
		return errNumberless(typ)
	}
	switch typ {
	case packet.TypeRequest:
		return e.takeRequest(s, call, body, owned)
	case packet.TypeResponse:
		return e.takeResponse(s, call, body, owned)
	case packet.TypeMessage:
		return e.takeMessage(s, call, body, owned)
	case packet.TypeRegister:
		return e.takeRegister(s, call, body)
	case packet.TypeAck, packet.TypeRegistered, packet.TypeCancel:
		a, err := packet.ParseAnswer(typ, body)
		if err != nil {
			return err
		}
		if typ != packet.TypeCancel {
			return e.takeAnswer(s, call, typ, a)
		}
		e.cancel(s, call, a)
		return nil
	}
	return &packet.Error{What: typ.String(), Reason: fmt.Sprintf("no packet of type 0x%02x is known", uint8(typ))}
}

// errNumberless is the error of a peer that sends a packet which needs an answer without a
// number.
func errNumberless(typ packet.Type) error {
	return &packet.Error{What: typ.String(), Reason: "the number 0 is that of messages without an answer"}
}

// remoteError returns the error with the code and text of the peer, or nil for CodeOK.
func remoteError(code uint32, text string) error {
	if code == uint32(geminio.CodeOK) {
		return nil
	}
	return &geminio.RemoteError{Code: geminio.Code(code), Text: text}
}
