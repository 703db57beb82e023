package oldpeer

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/singchia/geminio/internal/wire1"
)

// wake passes an answer to the goroutine that waits for it.
func (p *Peer) wake(q wire1.Packet) {
	key := waitKey{q.Type, q.ID}
	p.mu.Lock()
	ch := p.waits[key]
	delete(p.waits, key)
	p.mu.Unlock()
	if ch != nil {
		ch <- q
	}
}

// ask sends a packet, and returns its answer of the given type.
func (p *Peer) ask(ctx context.Context, q wire1.Packet, answer wire1.Type) (wire1.Packet, error) {
	if q.ID == 0 {
		q.ID = p.newID()
	}
	key := waitKey{answer, q.ID}
	ch := make(chan wire1.Packet, 1)
	p.mu.Lock()
	p.waits[key] = ch
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waits, key)
		p.mu.Unlock()
	}()
	if _, err := p.Send(q); err != nil {
		return wire1.Packet{}, err
	}
	select {
	case a := <-ch:
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-ctx.Done():
		if p.cfg.Newer && q.Type == wire1.TypeRequest {
			p.Send(wire1.Packet{Type: wire1.TypeRequestCancel, ID: q.ID, Session: q.Session, Kind: wire1.KindCanceled})
		}
		return wire1.Packet{}, ctx.Err()
	case <-p.over:
		return wire1.Packet{}, io.EOF
	}
}

// deadlines returns c with the deadline of ctx.
func (p *Peer) deadlines(ctx context.Context, c wire1.Content) wire1.Content {
	if at, ok := ctx.Deadline(); ok {
		c.Deadline = at.Add(p.cfg.Skew)
		c.ContextDeadline = c.Deadline
	}
	return c
}

// Call calls a method.
func (s *Session) Call(ctx context.Context, method string, data []byte) ([]byte, error) {
	a, err := s.CallWith(ctx, wire1.Content{Key: []byte(method), Value: data})
	return a.Value, err
}

// CallWith calls a method with any content.
func (s *Session) CallWith(ctx context.Context, c wire1.Content) (wire1.Packet, error) {
	return s.peer.ask(ctx, wire1.Packet{
		Type: wire1.TypeRequest, Session: s.ID, Content: s.peer.deadlines(ctx, c),
	}, wire1.TypeResponse)
}

// Publish publishes a message, and waits for the ack.
func (s *Session) Publish(ctx context.Context, topic string, data []byte) error {
	return s.PublishWith(ctx, wire1.Content{Topic: topic, Value: data})
}

// PublishWith publishes a message with any content.
func (s *Session) PublishWith(ctx context.Context, c wire1.Content) error {
	_, err := s.peer.ask(ctx, wire1.Packet{
		Type: wire1.TypeMessage, Session: s.ID, Content: s.peer.deadlines(ctx, c),
	}, wire1.TypeMessageAck)
	return err
}

// Register registers a method.
func (s *Session) Register(ctx context.Context, method string) error {
	_, err := s.peer.ask(ctx, wire1.Packet{Type: wire1.TypeRegister, Session: s.ID, Raw: []byte(method)}, wire1.TypeRegisterAck)
	return err
}

// Write writes raw bytes, in one packet.
func (s *Session) Write(b []byte) (int, error) {
	if _, err := s.peer.Send(wire1.Packet{Type: wire1.TypeStream, Session: s.ID, Raw: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Open opens a session.
func (p *Peer) Open(ctx context.Context, name string, meta []byte) (*Session, error) {
	q := wire1.Packet{Type: wire1.TypeSession, Negotiate: p.newID(), Peer: name, Meta: meta}
	s := &Session{ID: q.Negotiate, Name: name, Meta: meta, peer: p, ended: make(chan struct{})}
	if p.client {
		q.Flags = wire1.FlagAcquireSession
	} else { // the caller has chosen the id
		p.mu.Lock()
		p.sessions[s.ID] = s
		p.mu.Unlock()
	}
	a, err := p.ask(ctx, q, wire1.TypeSessionAck)
	if err != nil {
		p.mu.Lock()
		delete(p.sessions, s.ID)
		p.mu.Unlock()
		return nil, err
	}
	if p.client {
		time.Sleep(p.cfg.Lag)
		s.ID = a.Session
		p.mu.Lock()
		p.sessions[s.ID] = s
		p.mu.Unlock()
	}
	return s, nil
}

// Dismiss closes a session, and waits for the other side's answer.
func (s *Session) Dismiss(ctx context.Context) error {
	_, err := s.peer.ask(ctx, wire1.Packet{Type: wire1.TypeDismiss, Session: s.ID}, wire1.TypeDismissAck)
	select {
	case <-s.ended:
	case <-ctx.Done():
	}
	return err
}

// Shut closes the connection with a DisConn, and waits until it has ended.
func (p *Peer) Shut(ctx context.Context) error {
	p.mu.Lock()
	sessions := make([]*Session, 0, len(p.sessions))
	for _, s := range p.sessions {
		if s != p.Session {
			sessions = append(sessions, s)
		}
	}
	p.mu.Unlock()
	for _, s := range append(sessions, p.Session) {
		if err := s.Dismiss(ctx); err != nil {
			break
		}
	}
	p.mu.Lock()
	said := p.said
	p.said = true
	p.mu.Unlock()
	if !said {
		p.Send(wire1.Packet{Type: wire1.TypeDisConn})
	}
	select {
	case <-p.over:
		<-p.done
		return p.Err()
	case <-ctx.Done():
		p.Cut()
		return ctx.Err()
	}
}
