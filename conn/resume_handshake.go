package conn

// This file resumes a session during the handshake of another link, at both sides.

import (
	"errors"
	"fmt"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/packet"
)

// errReplaced is why a link was given up for another one.
var errReplaced = errors.New("the client has another transport for the session")

// attempt is the attempt of a client to resume a session. A nil attempt resumes nothing.
type attempt struct {
	session *Conn
	asked   packet.Resume
	over    bool // the session was resumed, has ended, or was left without a link
}

// beginResume begins the attempt that the configuration asks for. The goroutines of the
// session have left its old link when it returns.
func (c *Conn) beginResume(over <-chan struct{}) (*attempt, error) {
	if c.cfg.Resume == nil || c.cfg.Resume.Session == nil || c.cfg.Resume.Session.session == nil {
		return nil, nil
	}
	old := c.cfg.Resume.Session
	s := old.session
	if err := old.lock(over, errReplaced, nil); err != nil {
		return nil, err
	}
	a := &attempt{session: old}
	if old.State() == Closed {
		a.giveUp()
		if c.cfg.Resume.Only {
			return nil, ErrSessionEnded
		}
		return nil, nil
	}
	old.mu.Lock()
	s.attempt++
	a.asked = packet.Resume{ID: s.ticket.ID, Attempt: s.attempt, Received: s.position.Load(), Only: c.cfg.Resume.Only}
	old.mu.Unlock()
	a.asked.Proof = packet.Proof(s.ticket.Secret, packet.RoleClient, s.ticket.ID, a.asked.Attempt, a.asked.Received)
	return a, nil
}

// lock waits until no other handshake resumes the session, and then until no goroutine
// uses its link. unlock or attach ends that. In between, lock calls check, which may be nil. If
// check returns an error, lock returns it, and the link is left alone.
func (c *Conn) lock(over <-chan struct{}, cause error, check func() error) error {
	select {
	case c.busy() <- struct{}{}:
	case <-over:
		return errOver
	}
	if check != nil {
		if err := check(); err != nil {
			<-c.busy()
			return err
		}
	}
	if err := c.beQuiet(over, cause); err != nil {
		<-c.busy()
		return err
	}
	return nil
}

// unlock ends lock without a new link.
func (c *Conn) unlock() {
	c.endQuiet()
	<-c.busy()
}

// busy returns session.busy.
func (c *Conn) busy() chan struct{} {
	s := c.session
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.busy == nil {
		s.busy = make(chan struct{}, 1)
	}
	return s.busy
}

// begin sets s.began. The caller holds Conn.mu.
func (s *session) begin() {
	s.began = true
	if s.begun != nil {
		close(s.begun)
	}
}

// awaitBegin waits until the first handshake of the session is over.
func (c *Conn) awaitBegin(over <-chan struct{}) error {
	s := c.session
	c.mu.Lock()
	began := s.began
	if !began && s.begun == nil {
		s.begun = make(chan struct{})
	}
	begun := s.begun
	c.mu.Unlock()
	if began {
		return nil
	}
	select {
	case <-begun:
		return nil
	case <-over:
		return errOver
	}
}

// neverBegin ends the session of a Conn whose first handshake has failed.
func (c *Conn) neverBegin() {
	if c.session == nil {
		return
	}
	c.mu.Lock()
	c.setState(Closed)
	c.session.parked = true
	c.session.begin()
	c.mu.Unlock()
}

// request returns what the client asks for, or nil.
func (a *attempt) request() *packet.Resume {
	if a == nil {
		return nil
	}
	return &a.asked
}

// giveUp leaves the session without a link, unless the attempt is over.
func (a *attempt) giveUp() {
	if a == nil || a.over {
		return
	}
	a.over = true
	a.session.unlock()
}

// resumed handles the answer that the session continues on the link of c.
func (a *attempt) resumed(c *Conn, answer *packet.Resumed) error {
	if a == nil {
		return &packet.Error{What: "connack", Reason: "it resumes a session without being asked"}
	}
	s := a.session.session
	if !packet.Proves(answer.Proof, s.ticket.Secret, packet.RoleServer, s.ticket.ID, a.asked.Attempt, answer.Received) {
		return &packet.Error{What: "connack", Reason: "resumed: the proof is wrong"}
	}
	if err := a.session.checkPosition(answer.Received); err != nil {
		a.giveUp()
		a.session.abort(err)
		return err
	}
	a.over = true
	a.session.attach(c.link, answer.Received)
	<-a.session.busy()
	return ErrResumed
}

// ended handles the answer that the client has a fresh connection.
func (a *attempt) ended(answer *packet.Resumed) {
	if a == nil || a.over {
		return
	}
	old := a.session
	s := old.session
	cause := ErrSessionUnknown
	if answer != nil {
		cause = ErrSessionEnded
	}
	if answer != nil && packet.Proves(answer.Proof, s.ticket.Secret, packet.RoleEnded, s.ticket.ID, a.asked.Attempt, answer.Received) &&
		old.checkPosition(answer.Received) == nil {
		old.tellNotReceived(answer.Received)
	}
	a.giveUp()
	old.abort(cause)
}

// checkPosition returns an error if the peer cannot have received the bytes up to a
// position.
func (c *Conn) checkPosition(received uint64) error {
	s := c.session
	c.mu.Lock()
	defer c.mu.Unlock()
	if received < s.acked || received > s.sent {
		err := &packet.Error{What: "resume", Reason: fmt.Sprintf("position %d, not %d to %d", received, s.acked, s.sent)}
		return fmt.Errorf("%w: %w", geminio.ErrProtocol, err)
	}
	return nil
}

// resume continues the session that the client asks for on the link of c, and returns
// ErrResumed. If it returns nil, the client gets a fresh connection; ended then answers
// for a session that has ended.
func (c *Conn) resume(over <-chan struct{}, hello *packet.Conn, offer *packet.Settings, client *identification) (ended *packet.Resumed, err error) {
	asked, r := hello.Resume, c.cfg.Resume
	if asked == nil || offer == nil || r == nil || r.Find == nil {
		return nil, nil
	}
	old := r.Find(asked.ID)
	if old == nil || old.session == nil {
		return nil, nil
	}
	s := old.session
	if !packet.Proves(asked.Proof, s.ticket.Secret, packet.RoleClient, s.ticket.ID, asked.Attempt, asked.Received) {
		return nil, nil
	}
	if err := old.awaitBegin(over); err != nil {
		return nil, err
	}
	if old.upper == nil {
		return nil, nil // its first handshake has failed
	}
	refuse := func(why error) error { return c.refuse(over, *hello, guard.Describe(c.cfg.Log, why), why) }
	var stale error // a later attempt was faster
	check := func() error {
		old.mu.Lock()
		defer old.mu.Unlock()
		if asked.Attempt <= s.attempt {
			stale = fmt.Errorf("%w: attempt %d to resume, the last one was %d", geminio.ErrProtocol, asked.Attempt, s.attempt)
		}
		return stale
	}
	if check() != nil {
		return nil, refuse(stale)
	}
	if !s.identity.allows(identityOf(c.link.nc)) {
		return nil, nil // not a refusal: the certificate of a client may have been renewed
	}
	if err := c.identify(over, hello, client, true); err != nil {
		return nil, err
	}
	end := error(nil) // why the session ends
	if r.Allow != nil {
		if end = r.Allow(old, c, client.id); end != nil && !errors.Is(end, ErrFresh) {
			return nil, refuse(end)
		}
	}
	if end == nil {
		end = old.checkPosition(asked.Received)
	}
	if err := old.lock(over, errReplaced, check); err != nil {
		if stale != nil {
			err = refuse(stale)
		}
		return nil, err
	}
	old.mu.Lock()
	s.attempt = asked.Attempt
	old.mu.Unlock()
	answer := &packet.Resumed{Received: s.position.Load()}
	if old.State() == Closed {
		end = ErrSessionEnded
	}
	if end != nil {
		answer.Proof = packet.Proof(s.ticket.Secret, packet.RoleEnded, s.ticket.ID, asked.Attempt, answer.Received)
		old.unlock()
		old.abort(end)
		return answer, nil
	}
	answer.Proof = packet.Proof(s.ticket.Secret, packet.RoleServer, s.ticket.ID, asked.Attempt, answer.Received)
	ack, err := packet.AppendConnAck(nil, packet.ConnAck{
		PacketID: hello.PacketID, ClientID: old.clientID, Settings: offer, Resumed: answer,
	})
	if err == nil {
		err = c.send(over, ack)
	}
	if err != nil {
		old.unlock() // the client tries again
		return nil, err
	}
	old.attach(c.link, asked.Received)
	<-old.busy()
	return nil, ErrResumed
}
