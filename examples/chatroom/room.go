package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/names"
)

// room knows who is there and what was said last, and puts what they are to hear
// into their mailboxes. Its methods are safe for concurrent use and do not block.
type room struct {
	number  string // no other room has it, nor the same server's after a restart
	history int    // lines to remember
	queue   int    // the size of mailboxes

	mu      sync.Mutex
	members map[uint64]*member // by client id
	names   map[string]*member // by key
	lines   uint64             // said so far
	last    []event            // the last of them
	closed  bool
}

// member is a client that is there, with one connection.
type member struct {
	auth.Hello
	remote string // the connection's address
	box    *mailbox
	gone   chan struct{} // closed when the connection has ended
	quit   bool          // it has said that it goes; guarded by room.mu
}

func newRoom(history, queue int) *room {
	return &room{
		number: rand.Text(), history: history, queue: queue,
		members: make(map[uint64]*member), names: make(map[string]*member),
	}
}

// key is by what members are found. Their names differ in more than that.
func key(name string) string { return strings.ToLower(name) }

var (
	errStopping = errors.New("the server is stopping")
	errAway     = errors.New("you are not in the room")
)

// admit tells whether a client may come in.
func (r *room) admit(who auth.Hello) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.admitLocked(who)
}

func (r *room) admitLocked(who auth.Hello) error {
	if r.closed {
		return errStopping
	}
	for _, m := range r.members {
		switch {
		case m.ClientID() == who.ClientID() || !names.Alike(m.Name, who.Name):
		case key(m.Name) == key(who.Name):
			return fmt.Errorf("the name %s is taken", m.Name)
		default:
			return fmt.Errorf("the name %s looks like %s, which is taken", who.Name, m.Name)
		}
	}
	return nil
}

// enter lets a client in: it hears who is there and what was said last, the others
// hear of it.
func (r *room) enter(who auth.Hello, remote string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.admitLocked(who); err != nil {
		return err // somebody was faster
	}
	r.tellAll(event{kind: kindJoined, From: who.Name})
	m := &member{Hello: who, remote: remote, box: newMailbox(r.queue), gone: make(chan struct{})}
	r.members[who.ClientID()], r.names[key(who.Name)] = m, m
	m.box.put(event{kind: kindHello, To: who.Name, Text: r.number, Here: r.hereLocked()})
	m.box.put(r.last...)
	return nil
}

// leave takes a client out whose connection has ended.
func (r *room) leave(clientID uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[clientID]
	if m == nil {
		return
	}
	delete(r.members, clientID)
	delete(r.names, key(m.Name))
	close(m.gone)
	left := event{kind: kindLeft, From: m.Name}
	if !m.quit {
		left.Text = "connection lost"
	}
	r.tellAll(left)
}

// quit notes that a client is about to leave of its own will.
func (r *room) quit(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.quit = true
}

// member returns the client with that id, if it is there with that connection.
func (r *room) member(clientID uint64, remote string) *member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.members[clientID]; m != nil && m.remote == remote {
		return m
	}
	return nil
}

// tellAll puts an event into all mailboxes. r.mu is held.
func (r *room) tellAll(e event) {
	for _, m := range r.members {
		m.box.put(e)
	}
}

// say has everybody hear a line, also who has said it: that tells it the number. The
// line counts also if its connection was lost meanwhile: it will not come again.
func (r *room) say(m *member, text string) error {
	text, err := clean(text)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errStopping // nobody would hear it
	}
	r.lines++
	line := event{kind: kindLine, From: m.Name, Text: text, Line: r.lines}
	r.tellAll(line)
	line.Past = true
	r.last = append(r.last, line)
	if over := len(r.last) - r.history; over > 0 {
		r.last = slices.Delete(r.last, 0, over)
	}
	return nil
}

// tell has one client hear a line.
func (r *room) tell(clientID uint64, to, text string) error {
	text, err := clean(text)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	from, other := r.members[clientID], r.names[key(to)]
	switch {
	case from == nil:
		return errAway
	case other == nil:
		return fmt.Errorf("there is nobody called %s", to)
	}
	other.box.put(event{kind: kindTold, From: from.Name, To: other.Name, Text: text})
	return nil
}

// here returns the names of all, in order.
func (r *room) here() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hereLocked()
}

func (r *room) hereLocked() []string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(r.names)) {
		all = append(all, r.names[k].Name)
	}
	return all
}

// close lets nobody in any more, and nothing into the mailboxes after a last word.
func (r *room) close(word string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.tellAll(event{kind: kindNotice, Text: word})
	for _, m := range r.members {
		m.box.close()
	}
}
