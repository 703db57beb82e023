package application

// This file has the registered methods of both sides: Register, Hijack, and the handling of a
// registration.

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"time"
	"unsafe"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/nilarg"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// Limits of what a peer may register on one connection.
const (
	// MaxRemoteMethods is the largest number of methods.
	MaxRemoteMethods = 1 << 14
	// MaxMethodName is the length of the longest name, in bytes.
	MaxMethodName = 1000
)

// Methods holds the methods that are registered on a stream, and its hijack. An End that
// reconnects uses one Methods for the default streams of all its connections. It is safe
// for concurrent use.
type Methods struct {
	wrap *wrapper // read-only

	mu       sync.RWMutex
	local    byName[geminio.RPC] // each in its middleware
	hijack   geminio.HijackRPC   // nil if there is none
	hijacked geminio.RPC         // the hijack in its middleware; nil if there is no middleware
	match    *regexp.Regexp      // the pattern of the hijack; nil matches every method
	onMatch  bool                // the hijack takes the methods that match; false: the others
	last     *methods            // the methods of the last connection; nil before the first
}

// NewMethods returns the methods that all connections of an End share: those of the Config, with
// its middleware and its hijack. Config.Methods takes the result.
func NewMethods(log *slog.Logger, cfg *Config) (*Methods, error) {
	m := &Methods{wrap: newWrapper(log, cfg.Middleware)}
	for _, l := range cfg.LocalMethods {
		if l == nil {
			continue
		}
		if _, err := m.set(l.Method, l.RPC); err != nil {
			return nil, err
		}
	}
	if cfg.Hijack != nil {
		if err := m.Hijack(cfg.Hijack, cfg.HijackOptions); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// set registers a method, and reports whether it is new.
func (m *Methods) set(name string, rpc geminio.RPC) (added bool, err error) {
	if m.wrap != nil {
		if rpc, err = m.wrap.wrap(fmt.Sprintf("the method %q", name), rpc); err != nil {
			return false, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.local.set(name, rpc), nil
}

// Add adds a method. The connections that begin from now on register it with the peer. The error
// is that of a middleware, or names a limit.
func (m *Methods) Add(name string, rpc geminio.RPC) error {
	if err := checkMethod(name); err != nil {
		return err
	}
	_, err := m.set(name, rpc)
	return err
}

// checkMethod returns an error if the name of a method is too long.
func checkMethod(name string) error {
	if len(name) > MaxMethodName {
		return &geminio.LimitError{What: "method", Value: uint64(len(name)), Limit: MaxMethodName, Err: geminio.ErrTooLarge}
	}
	return nil
}

// Has tells whether a method is registered.
func (m *Methods) Has(name string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.local.has(name)
}

// Remove removes a method.
func (m *Methods) Remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.local.remove(name)
}

// All returns the names of all methods, in the order of their registration.
func (m *Methods) All() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.local.names()
}

// find returns the handler of a method, which is an RPC or a hijack, and the name as a
// string. If there is none, both handlers are nil. registered reports whether a method of this
// name is registered, also if the hijack takes it.
func (m *Methods) find(name []byte) (method string, rpc geminio.RPC, hijack geminio.HijackRPC, registered bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	found := m.local.find(name)
	switch {
	case m.hijack != nil && (m.match == nil || m.match.Match(name) == m.onMatch):
		if rpc = m.hijacked; rpc == nil {
			hijack = m.hijack
		}
	case found != nil:
		rpc = found.value
	}
	if found != nil {
		return found.name, rpc, hijack, true
	}
	return string(name), rpc, hijack, false
}

// connect returns the methods of a new connection. check says that methods.knows will be
// called on them.
func (m *Methods) connect(check bool) *methods {
	next := &methods{served: m}
	m.mu.Lock()
	last := m.last
	m.last = next
	m.mu.Unlock()
	if last != nil && check {
		next.previous = last.takeNames()
	}
	return next
}

// methods holds the methods of a stream that this side serves, and the names of those that
// the peer has registered.
type methods struct {
	served *Methods

	mu         sync.Mutex
	remote     byName[struct{}]
	grown      chan struct{}   // closed when remote grows; nil if no goroutine waits for that
	previous   map[string]bool // remote of the connection before, until settled reports true
	firstAdded time.Time       // when the first method was added to remote
}

// registrationTime is how long after its first registration a peer may take to register its
// other methods at the beginning of a connection. In this time the methods of the connection
// before count as registered too, so that a call right after a reconnect is not refused
// because it overtakes the registrations.
const registrationTime = time.Second

// settled tells whether the methods of the connection before no longer count. m.mu is held.
func (m *methods) settled() bool {
	return len(m.remote.entries) > 0 && time.Since(m.firstAdded) >= registrationTime
}

// knows tells whether the peer has registered a method, or is likely to do so soon.
func (m *methods) knows(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.remote.has(name) || m.previous[name] && !m.settled()
}

// takeNames returns the methods that count as registered when the next connection begins:
// the methods of this connection, and the methods of the connection before it if settled
// has not reported true. It returns at most MaxRemoteMethods names.
func (m *methods) takeNames() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make(map[string]bool, len(m.remote.entries))
	for _, name := range m.remote.names() {
		names[name] = true
	}
	if !m.settled() {
		for name := range m.previous {
			if len(names) >= MaxRemoteMethods {
				break
			}
			names[name] = true
		}
	}
	m.previous = nil
	return names
}

// find calls Methods.find of the stream's methods.
func (s *Stream) find(name []byte) (method string, rpc geminio.RPC, hijack geminio.HijackRPC, registered bool) {
	s.mu.Lock()
	m := s.rpc
	s.mu.Unlock()
	if m == nil {
		return string(name), nil, nil, false
	}
	return m.served.find(name)
}

// addRemote adds a method that the peer has registered. It reports whether the method is
// new.
func (m *methods) addRemote(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.remote.set(name, struct{}{}) {
		return false
	}
	if len(m.remote.entries) == 1 {
		m.firstAdded = time.Now()
	}
	m.notifyGrown()
	return true
}

// notifyGrown wakes the goroutines that wait in waitRemote. m.mu is held.
func (m *methods) notifyGrown() {
	if m.grown != nil {
		close(m.grown)
		m.grown = nil
	}
}

// waitRemote waits until the peer has registered all the names, ctx ends, or done is closed.
func (m *methods) waitRemote(ctx context.Context, names []string, done <-chan struct{}) error {
	for _, name := range names {
		for {
			m.mu.Lock()
			found := m.remote.has(name)
			if m.grown == nil {
				m.grown = make(chan struct{})
			}
			grown := m.grown
			m.mu.Unlock()
			if found {
				break
			}
			select {
			case <-grown:
			case <-done:
				return io.EOF
			case <-ctx.Done():
				return fmt.Errorf("waiting for the peer to register %q: %w", name, ctx.Err())
			}
		}
	}
	return nil
}

// Register lets the peer call a method on this stream, and returns when the peer has
// confirmed it. It replaces a method that was registered before under the same name.
func (s *Stream) Register(ctx context.Context, method string, rpc geminio.RPC) error {
	switch {
	case ctx == nil:
		return nilarg.New("register", "context")
	case rpc == nil:
		return nilarg.New("register", "rpc")
	}
	if err := checkMethod(method); err != nil {
		return err
	}
	if err := s.closed(); err != nil {
		return err
	}
	served := s.methods().served
	added, err := served.set(method, rpc)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if s.end.isPrepared() {
		return nil // exchangeMethods registers it with the peer
	}
	_, err = s.do(ctx, &operation{typ: packet.TypeRegister}, stringBytes(method))
	if _, refused := err.(*geminio.RemoteError); refused && added {
		served.Remove(method)
	}
	return err
}

// ownMethods returns the names of the methods of this stream, in the order of their registration.
func (s *Stream) ownMethods() []string {
	s.mu.Lock()
	m := s.rpc
	s.mu.Unlock()
	if m == nil {
		return nil
	}
	return m.served.All()
}

// registerAll registers methods with the peer, all at once, and waits until the peer has
// confirmed them.
func (s *Stream) registerAll(ctx context.Context, names []string) error {
	op := operation{typ: packet.TypeRegister}
	var started []*pending
	var first error
	for _, name := range names {
		p, err := s.start(ctx, &op, stringBytes(name), nil)
		if err != nil {
			first = err
			break
		}
		started = append(started, p)
	}
	for i, p := range started {
		if _, err := s.wait(ctx, &op, p); err != nil && first == nil {
			first = fmt.Errorf("registering %q: %w", names[i], err)
		}
	}
	return first
}

// takeRegister adds a method of the peer and confirms it. Package multiplexer calls it on the
// reading goroutine.
func (e *End) takeRegister(s *Stream, seq uint64, name []byte) error {
	a := packet.Answer{}
	switch {
	case len(name) > MaxMethodName:
		a = packet.Answer{Code: uint32(geminio.CodeTooLarge), Text: fmt.Sprintf("method name of %d bytes exceeds %d", len(name), MaxMethodName)}
	case e.remoteMethods.Load() >= MaxRemoteMethods:
		a = packet.Answer{Code: uint32(geminio.CodeLimit), Text: fmt.Sprintf("too many methods: %d are registered", MaxRemoteMethods)}
	default:
		method := string(name)
		e.addRemote(s, method)
		if f := e.cfg.Hooks.RemoteRegistration; f != nil {
			// The credit goes back to the peer when f has returned, so that it bounds the
			// calls of f that are queued.
			size, clientID, streamID := len(name), s.ClientID(), s.StreamID()
			s.d.Post(packet.TypeRegistered, seq, a.Append(nil))
			e.events.post("RemoteRegistration", func() {
				defer s.d.Release(packet.TypeRegister, size)
				f(method, clientID, streamID)
			})
			return nil
		}
	}
	s.d.Post(packet.TypeRegistered, seq, a.Append(nil))
	s.d.Release(packet.TypeRegister, len(name))
	return nil
}

// addRemote adds a method that the peer has registered on s.
func (e *End) addRemote(s *Stream, method string) {
	if s.methods().addRemote(method) {
		e.remoteMethods.Add(1)
		e.remoteNameBytes.Add(int64(len(method)))
	}
}

// addFromHandshake adds the methods of the peer that the handshake has registered. e.begin calls it.
func (e *End) addFromHandshake(methods []string) {
	for _, method := range methods {
		e.addRemote(e.Stream, method)
		if f := e.cfg.Hooks.RemoteRegistration; f != nil {
			e.events.post("RemoteRegistration", func() { f(method, e.ClientID(), e.StreamID()) })
		}
	}
}

// Hijack has rpc handle calls on this stream in place of the registered methods: all calls, or
// those whose method matches or does not match a pattern. A second Hijack replaces the first.
// Hijack returns an error if the pattern is not a regular expression.
func (s *Stream) Hijack(rpc geminio.HijackRPC, opts ...*options.HijackOptions) error {
	return s.methods().served.Hijack(rpc, opts...)
}

// Hijack is Stream.Hijack for all streams that use m.
func (m *Methods) Hijack(rpc geminio.HijackRPC, opts ...*options.HijackOptions) error {
	match, onMatch, err := hijackPattern(opts)
	if err != nil {
		return fmt.Errorf("hijack: %w", err)
	}
	hijacked, err := m.wrap.wrapHijack(rpc)
	if err != nil {
		return fmt.Errorf("hijack: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hijack, m.hijacked, m.match, m.onMatch = rpc, hijacked, match, onMatch
	return nil
}

// CheckHijackOptions returns an error if the pattern of a hijack is not a regular expression.
func CheckHijackOptions(opt *options.HijackOptions) error {
	if opt == nil {
		return nil
	}
	_, _, err := hijackPattern([]*options.HijackOptions{opt})
	return err
}

// hijackPattern returns the pattern of a hijack, or nil if it has none, and whether it takes the
// methods that match.
func hijackPattern(opts []*options.HijackOptions) (match *regexp.Regexp, onMatch bool, err error) {
	opt := options.MergeHijackOptions(opts...)
	if opt.Pattern == nil {
		return nil, true, nil
	}
	match, err = regexp.Compile(*opt.Pattern)
	return match, opt.Match == nil || *opt.Match, err
}

// stringBytes returns the bytes of s, which must not be changed.
func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
