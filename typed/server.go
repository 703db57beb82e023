package typed

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/singchia/geminio"
)

// peerPrefix begins the peer of the stream of a streaming call.
const peerPrefix = "typed/"

// Server serves streaming calls on the streams that the peers of any number of Ends open. The
// zero value has no methods and is ready for use. All methods are safe for concurrent use.
//
// A program that accepts streams itself passes them to [Server.Offer] first, or accepts them from
// a [Server.Listener]. Other programs use [Server.Serve].
//
// A stream that an AcceptMiddleware has returned in place of another one must be a
// geminio.HalfCloser; otherwise its call is refused.
type Server struct {
	mu      sync.RWMutex
	methods map[string]streamMethod
}

// streamMethod is a registered streaming method.
type streamMethod struct {
	coder coder
	max   int
	// serve calls the handler, and returns the data of the response.
	serve func(ctx context.Context, req geminio.Request, s *session) ([]byte, error)
}

// register registers a method. It replaces one that was registered before under the same name. If
// m.serve is nil, register removes that one.
func (s *Server) register(name string, m streamMethod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.serve == nil {
		delete(s.methods, name)
		return
	}
	if s.methods == nil {
		s.methods = make(map[string]streamMethod)
	}
	s.methods[name] = m
}

func (s *Server) find(name string) (streamMethod, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m, ok := s.methods[name]
	return m, ok
}

// Serve accepts the streams of an End, serves the streaming calls among them, and calls other in a
// goroutine of its own for each other stream. If other is nil, the other streams are reset. Serve
// returns when AcceptStream returns an error, with that error: io.EOF after the end of the End.
// Calls that are under way then end with their streams.
func (s *Server) Serve(end geminio.Multiplexer, other func(geminio.Stream)) error {
	if other == nil {
		other = func(stream geminio.Stream) {
			geminio.Reset(stream, geminio.CodeNoMethod, "this side accepts no such stream")
			stream.Close()
		}
	}
	for {
		stream, err := end.AcceptStream()
		if err != nil {
			return err
		}
		if !s.Offer(stream) {
			go other(stream)
		}
	}
}

// Listener returns a net.Listener whose Accept returns the streams of end that are not streaming
// calls. It serves the streaming calls while a goroutine is in Accept. The other methods are those
// of end; Close closes end.
func (s *Server) Listener(end geminio.End) net.Listener { return &listener{end, s} }

type listener struct {
	geminio.End
	s *Server
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		stream, err := l.AcceptStream()
		if err != nil {
			return nil, err
		}
		if !l.s.Offer(stream) {
			return stream, nil
		}
	}
}

// Offer serves the streaming call of a stream that was accepted, and returns true at once. It
// returns false, and leaves the stream alone, if the stream is not one of a streaming call.
func (s *Server) Offer(stream geminio.Stream) bool {
	if !strings.HasPrefix(stream.Peer(), peerPrefix) {
		return false
	}
	var called atomic.Bool
	err := stream.Hijack(func(ctx context.Context, name string, req geminio.Request, resp geminio.Response) {
		if called.Swap(true) {
			resp.SetError(&methodError{geminio.CodeLimit, "the stream has its call"})
			return
		}
		data, err := s.call(ctx, stream, name, req)
		if err != nil {
			resp.SetError(err)
			return
		}
		resp.SetData(data)
	})
	if err == nil {
		_, err = stream.Write([]byte{0}) // ready
	}
	if err != nil {
		stream.Close()
	}
	return true
}

// call serves the call of a stream.
func (s *Server) call(ctx context.Context, stream geminio.Stream, name string, req geminio.Request) ([]byte, error) {
	m, ok := s.find(name)
	if !ok {
		return nil, &methodError{geminio.CodeNoMethod, fmt.Sprintf("no such streaming method: %s", name)}
	}
	if _, ok := stream.(geminio.HalfCloser); !ok { // the caller would wait for the end of the items
		return nil, fmt.Errorf("the stream of %q at the server has no CloseWrite and CloseRead", name)
	}
	if err := m.coder.checkRequest(ctx); err != nil {
		return nil, err
	}
	session := newSession(ctx, stream, m.coder, m.max)
	defer session.end()
	return m.serve(ctx, req, session)
}

// methodError refuses a call.
type methodError struct {
	code geminio.Code
	text string
}

// Error implements error.
func (e *methodError) Error() string { return e.text }

// Code implements geminio.Coder.
func (e *methodError) Code() geminio.Code { return e.code }
