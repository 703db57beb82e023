package application

import (
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// What a peer may register on one connection.
const (
	// MaxRemoteMethods is how many methods.
	MaxRemoteMethods = 1 << 14
	// MaxMethodName is the length of the longest name, in bytes.
	MaxMethodName = 1000
)

// Methods are what a stream serves: the methods registered on it, and the hijack.
// An End that reconnects hands those of its default stream from one connection to
// the next. They are safe for concurrent use.
type Methods struct {
	mu     sync.RWMutex
	local  map[string]method
	names  []string          // of local, in the order in which they came
	hijack geminio.HijackRPC // nil: none
	match  *regexp.Regexp    // nil: every method
	want   bool              // whether those that match are hijacked, or the others
	last   *methods          // those of the last connection; nil before the first
}

type method struct {
	name string
	rpc  geminio.RPC
}

// set registers a method, and reports whether it is new.
func (m *Methods) set(name string, rpc geminio.RPC) (added bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.local == nil {
		m.local = make(map[string]method)
	}
	if _, there := m.local[name]; !there {
		m.names = append(m.names, name)
		added = true
	}
	m.local[name] = method{name, rpc}
	return added
}

// Has tells whether a method is registered.
func (m *Methods) Has(name string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, there := m.local[name]
	return there
}

// Remove takes a method back.
func (m *Methods) Remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.local, name)
	m.names = slices.DeleteFunc(m.names, func(n string) bool { return n == name })
}

// all returns the names of all methods, in the order in which they came.
func (m *Methods) all() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Clone(m.names)
}

// find returns who serves a method, and the name as a string: nobody, if both are
// nil.
func (m *Methods) find(name []byte) (string, geminio.RPC, geminio.HijackRPC) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.hijack != nil && (m.match == nil || m.match.Match(name) == m.want) {
		return string(name), nil, m.hijack
	}
	if found, ok := m.local[string(name)]; ok {
		return found.name, found.rpc, nil
	}
	return string(name), nil, nil
}

// connect returns the methods of the next connection. With check set, knows of the next
// connection is to be asked.
func (m *Methods) connect(check bool) *methods {
	next := &methods{served: m}
	m.mu.Lock()
	last := m.last
	m.last = next
	m.mu.Unlock()
	if last != nil && check {
		next.former = last.takeNames()
	}
	return next
}

// methods are the methods of a stream: those that are served here, and those
// that the peer has told of.
type methods struct {
	served *Methods

	mu     sync.Mutex
	remote map[string]bool
	news   chan struct{}   // closed when remote grows; nil if nobody waits
	former map[string]bool // what the peer of the connection before told of, until settled
	since  time.Time       // when the first of remote came
}

// introduction is how long after its first registration a peer may take for those that
// it makes at the beginning of a connection. Until then the methods of the connection
// before are known too: a call right after a reconnect is not refused because it was
// faster than the peer.
const introduction = time.Second

// settled tells whether the methods of the connection before count no more. m.mu is held.
func (m *methods) settled() bool {
	return len(m.remote) > 0 && time.Since(m.since) >= introduction
}

// knows tells whether the peer has registered a method, as far as can be told.
func (m *methods) knows(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.remote[name] || m.former[name] && !m.settled()
}

// takeNames returns what is known when the next connection begins: the methods of this
// one, and those of the one before as well if this one ended too soon. They are no more than
// one peer may register.
func (m *methods) takeNames() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make(map[string]bool, len(m.remote))
	maps.Copy(names, m.remote)
	if !m.settled() {
		for name := range m.former {
			if len(names) >= MaxRemoteMethods {
				break
			}
			names[name] = true
		}
	}
	m.former = nil
	return names
}

// find is Methods.find of the stream's methods.
func (s *Stream) find(name []byte) (string, geminio.RPC, geminio.HijackRPC) {
	s.mu.Lock()
	m := s.rpc
	s.mu.Unlock()
	if m == nil {
		return string(name), nil, nil
	}
	return m.served.find(name)
}

// addRemote notes a method that the peer has registered. It reports whether it
// is new.
func (m *methods) addRemote(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.remote[name] {
		return false
	}
	if m.remote == nil {
		m.remote = make(map[string]bool)
		m.since = time.Now()
	}
	m.remote[name] = true
	m.wake()
	return true
}

// wake wakes who waits for remote methods. m.mu is held.
func (m *methods) wake() {
	if m.news != nil {
		close(m.news)
		m.news = nil
	}
}

// waitRemote waits until the peer has registered all the names.
func (m *methods) waitRemote(ctx context.Context, names []string, over <-chan struct{}) error {
	for _, name := range names {
		for {
			m.mu.Lock()
			have := m.remote[name]
			if m.news == nil {
				m.news = make(chan struct{})
			}
			news := m.news
			m.mu.Unlock()
			if have {
				break
			}
			select {
			case <-news:
			case <-over:
				return io.EOF
			case <-ctx.Done():
				return fmt.Errorf("waiting for the peer to register %q: %w", name, ctx.Err())
			}
		}
	}
	return nil
}

// Register lets the peer call a method on this stream, and returns when the peer
// has taken note. A method that was registered before is replaced.
func (s *Stream) Register(ctx context.Context, method string, rpc geminio.RPC) error {
	switch {
	case ctx == nil:
		return nilarg.New("register", "context")
	case rpc == nil:
		return nilarg.New("register", "rpc")
	}
	if len(method) > MaxMethodName {
		return &geminio.LimitError{What: "method", Value: uint64(len(method)), Limit: MaxMethodName, Err: geminio.ErrTooLarge}
	}
	if err := s.closed(); err != nil {
		return err
	}
	served := s.methods().served
	added := served.set(method, rpc)
	_, err := s.do(ctx, &operation{typ: packet.TypeRegister}, stringBytes(method))
	if _, refused := err.(*geminio.RemoteError); refused && added {
		served.Remove(method)
	}
	return err
}

// announce tells the peer of methods, all at once, and waits until it has taken
// note of them.
func (s *Stream) announce(ctx context.Context, names []string) error {
	op := operation{typ: packet.TypeRegister}
	var told []*pending
	var first error
	for _, name := range names {
		p, err := s.start(ctx, &op, stringBytes(name), nil)
		if err != nil {
			first = err
			break
		}
		told = append(told, p)
	}
	for i, p := range told {
		if _, err := s.wait(ctx, &op, p); err != nil && first == nil {
			first = fmt.Errorf("registering %q: %w", names[i], err)
		}
	}
	return first
}

// takeRegister takes note of a method of the peer.
func (e *End) takeRegister(s *Stream, call uint64, name []byte) error {
	a := packet.Answer{}
	switch {
	case len(name) > MaxMethodName:
		a = packet.Answer{Code: uint32(geminio.CodeTooLarge), Text: fmt.Sprintf("method name of %d bytes exceeds %d", len(name), MaxMethodName)}
	case e.remotes.Load() >= MaxRemoteMethods:
		a = packet.Answer{Code: uint32(geminio.CodeLimit), Text: fmt.Sprintf("too many methods: %d are registered", MaxRemoteMethods)}
	default:
		method := string(name)
		if s.methods().addRemote(method) {
			e.remotes.Add(1)
		}
		if f := e.cfg.Hooks.RemoteRegistration; f != nil {
			// The credit comes back when the user has been told: so it bounds how many
			// calls of f wait.
			size, clientID, streamID := len(name), s.ClientID(), s.StreamID()
			s.d.Post(packet.TypeRegistered, call, a.Append(nil))
			e.events.post("RemoteRegistration", func() {
				defer s.d.Release(packet.TypeRegister, size)
				f(method, clientID, streamID)
			})
			return nil
		}
	}
	s.d.Post(packet.TypeRegistered, call, a.Append(nil))
	s.d.Release(packet.TypeRegister, len(name))
	return nil
}

// Hijack has calls on this stream handled by rpc, before any registered method:
// all of them, or those whose method matches or does not match a pattern. The
// last Hijack wins. It returns an error if the pattern is not a regular
// expression.
func (s *Stream) Hijack(rpc geminio.HijackRPC, opts ...*options.HijackOptions) error {
	return s.methods().served.Hijack(rpc, opts...)
}

// Hijack is Stream.Hijack for all streams that have these methods.
func (m *Methods) Hijack(rpc geminio.HijackRPC, opts ...*options.HijackOptions) error {
	opt := options.MergeHijackOptions(opts...)
	var match *regexp.Regexp
	want := true
	if opt.Pattern != nil {
		re, err := regexp.Compile(*opt.Pattern)
		if err != nil {
			return fmt.Errorf("hijack: %w", err)
		}
		match = re
		want = opt.Match == nil || *opt.Match
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hijack, m.match, m.want = rpc, match, want
	return nil
}

// stringBytes returns the bytes of s, which must not be changed.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
