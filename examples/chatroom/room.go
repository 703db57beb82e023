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

// room has the members and the last lines, and puts events into the mailboxes of the
// members. Its methods are safe for concurrent use and do not block.
type room struct {
	number  string // unique, also after a restart of the server
	history int    // lines to remember
	queue   int    // the size of mailboxes

	mu      sync.Mutex
	members map[uint64]*member // by client id
	names   map[string]*member // by key
	lines   uint64             // the number of the last line
	last    []event            // the last lines
	closed  bool
}

// member is a client in the room, with one connection.
type member struct {
	auth.Hello
	remote string // the connection's address
	box    *mailbox
	gone   chan struct{} // closed when the connection has ended
	quit   bool          // the client has announced that it leaves; guarded by room.mu
}

func newRoom(history, queue int) *room {
	return &room{
		number: rand.Text(), history: history, queue: queue,
		members: make(map[uint64]*member), names: make(map[string]*member),
	}
}

// key returns the key of a name in room.names. No two members have the same key.
func key(name string) string { return strings.ToLower(name) }

var (
	errStopping = errors.New("the server is stopping")
	errAway     = errors.New("you are not in the room")
)

// admit returns an error if the client may not enter.
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

// enter adds a client. The client gets the names of the members and the last lines, and the
// other members get an event.
func (r *room) enter(who auth.Hello, remote string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.admitLocked(who); err != nil {
		return err // another client has taken the name meanwhile
	}
	r.tellAll(event{Kind: kindJoined, From: who.Name})
	m := &member{Hello: who, remote: remote, box: newMailbox(r.queue), gone: make(chan struct{})}
	r.members[who.ClientID()], r.names[key(who.Name)] = m, m
	m.box.put(event{Kind: kindHello, To: who.Name, Text: r.number, Here: r.hereLocked()})
	m.box.put(r.last...)
	return nil
}

// leave removes a client whose connection has ended.
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
	left := event{Kind: kindLeft, From: m.Name}
	if !m.quit {
		left.Text = "connection lost"
	}
	r.tellAll(left)
}

// quit notes that the user of a client leaves.
func (r *room) quit(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.quit = true
}

// member returns the client with that id, if it is in the room with that connection.
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

// say sends a line to all members, including its author, which learns the number of the
// line. The line counts also if the author's connection is lost meanwhile, since the
// author does not send it again.
func (r *room) say(m *member, text string) error {
	text, err := clean(text)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errStopping // the mailboxes are closed
	}
	r.lines++
	line := event{Kind: kindLine, From: m.Name, Text: text, Line: r.lines}
	r.tellAll(line)
	line.Past = true
	r.last = append(r.last, line)
	if over := len(r.last) - r.history; over > 0 {
		r.last = slices.Delete(r.last, 0, over)
	}
	return nil
}

// tell sends a line to one member.
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
	other.box.put(event{Kind: kindTold, From: from.Name, To: other.Name, Text: text})
	return nil
}

// here returns the names of all members, in order.
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

// close puts a last notice into the mailboxes and closes them. No client enters after that.
func (r *room) close(word string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.tellAll(event{Kind: kindNotice, Text: word})
	for _, m := range r.members {
		m.box.close()
	}
}
