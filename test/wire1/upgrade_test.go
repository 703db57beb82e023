package wire1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/oldpeer"
)

// hub is a server that passes on calls, messages and streams between its clients.
type hub struct {
	l  server.Listener
	wg sync.WaitGroup

	mu     sync.Mutex
	cond   *sync.Cond // with mu: signals that a client is served
	served map[uint64]int
	ends   map[uint64]geminio.End
}

func newHub(t *testing.T) *hub {
	t.Helper()
	l, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := &hub{l: l, ends: make(map[uint64]geminio.End), served: make(map[uint64]int)}
	h.cond = sync.NewCond(&h.mu)
	h.wg.Go(func() {
		for {
			end, err := l.AcceptEnd()
			if err != nil {
				return
			}
			h.serve(end)
			h.mu.Lock()
			h.ends[end.ClientID()] = end
			h.served[end.ClientID()]++
			h.cond.Broadcast()
			h.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		l.Close()
		h.mu.Lock()
		ends := h.ends
		h.ends = nil
		h.mu.Unlock()
		for _, end := range ends {
			end.Close()
		}
		h.wg.Wait()
	})
	return h
}

// join connects a client, and returns when the hub serves it.
func (h *hub) join(t *testing.T, id uint64, join func(t *testing.T, address string, id uint64) member) member {
	t.Helper()
	h.mu.Lock()
	before := h.served[id]
	h.mu.Unlock()
	m := join(t, h.l.Addr().String(), id)
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.served[id] == before {
		h.cond.Wait()
	}
	return m
}

// find returns the End of the client with the id in text.
func (h *hub) find(text string) (geminio.End, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if end := h.ends[id]; end != nil {
		return end, nil
	}
	return nil, fmt.Errorf("client %d is not connected", id)
}

func (h *hub) serve(end geminio.End) {
	end.Hijack(func(ctx context.Context, method string, req geminio.Request, resp geminio.Response) {
		to, method, _ := strings.Cut(method, "/")
		target, err := h.find(to)
		if err != nil {
			resp.SetError(err)
			return
		}
		answer, err := target.Call(ctx, method, target.NewRequest(req.Data()))
		if err != nil {
			resp.SetError(err)
			return
		}
		resp.SetData(answer.Data())
	})
	h.wg.Go(func() {
		for {
			msg, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			h.wg.Go(func() {
				target, err := h.find(msg.Topic())
				if err == nil {
					err = target.Publish(context.Background(), target.NewMessage(msg.Data()))
				}
				msg.Error(err)
			})
		}
	})
	h.wg.Go(func() {
		for {
			from, err := end.AcceptStream()
			if err != nil {
				return
			}
			h.wg.Go(func() { h.connect(from) })
		}
	})
}

// connect joins a stream with a new stream to the client that its meta names.
func (h *hub) connect(from geminio.Stream) {
	defer from.Close()
	target, err := h.find(from.Peer())
	if err != nil {
		return
	}
	to, err := target.OpenStream()
	if err != nil {
		return
	}
	defer to.Close()
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(to, from); to.Close() })
	wg.Go(func() { io.Copy(from, to); from.Close() })
	wg.Wait()
}

// member is a client of the hub, of wire 1 or 2.
type member interface {
	call(to uint64, data []byte) ([]byte, error)
	publish(to uint64, data []byte) error
	// stream opens a stream, writes data, reads as many bytes, and closes the stream.
	stream(to uint64, data []byte) ([]byte, error)
	got() int // the number of received messages
	close()
}

// newMember is a client of this library.
type newMember struct {
	end geminio.End
	wg  sync.WaitGroup
	n   counter
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add()     { c.mu.Lock(); c.n++; c.mu.Unlock() }
func (c *counter) get() int { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

const patience = 30 * time.Second

func joinNew(t *testing.T, address string, id uint64) member {
	opt := client.NewEndOptions()
	opt.SetClientID(id)
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: func(_ context.Context, req geminio.Request, resp geminio.Response) {
		resp.SetData(req.Data())
	}})
	end, err := client.NewEnd("tcp", address, opt)
	require.NoError(t, err)
	m := &newMember{end: end}
	m.wg.Go(func() {
		for {
			msg, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			m.n.add()
			msg.Done()
		}
	})
	m.wg.Go(func() {
		for {
			s, err := end.AcceptStream()
			if err != nil {
				return
			}
			m.wg.Go(func() {
				defer s.Close()
				io.Copy(s, s)
			})
		}
	})
	return m
}

func (m *newMember) call(to uint64, data []byte) ([]byte, error) {
	opt := options.Call()
	opt.SetTimeout(patience)
	resp, err := m.end.Call(context.Background(), fmt.Sprintf("%d/echo", to), m.end.NewRequest(data), opt)
	if err != nil {
		return nil, err
	}
	return resp.Data(), nil
}

func (m *newMember) publish(to uint64, data []byte) error {
	opt, topic := options.Publish(), options.NewMessage()
	opt.SetTimeout(patience)
	topic.SetTopic(fmt.Sprint(to))
	return m.end.Publish(context.Background(), m.end.NewMessage(data, topic), opt)
}

func (m *newMember) stream(to uint64, data []byte) ([]byte, error) {
	opt := options.OpenStream()
	opt.SetPeer(fmt.Sprint(to))
	opt.SetTimeout(patience)
	s, err := m.end.OpenStream(opt)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(patience))
	go s.Write(data)
	back := make([]byte, len(data))
	_, err = io.ReadFull(s, back)
	return back, err
}

func (m *newMember) got() int { return m.n.get() }

func (m *newMember) close() {
	m.end.Close()
	m.wg.Wait()
}

// oldMember is a client of wire 1.
type oldMember struct {
	p *oldpeer.Peer
	n counter

	mu    sync.Mutex
	cond  *sync.Cond
	bytes map[uint64][]byte // the bytes that were read, by session
}

func joinOld(t *testing.T, address string, id uint64) member {
	nc, err := net.Dial("tcp", address)
	require.NoError(t, err)
	m := &oldMember{bytes: make(map[uint64][]byte)}
	m.cond = sync.NewCond(&m.mu)
	own := make(map[uint64]bool) // the sessions that the server has opened; only the reading goroutine uses it
	m.p, err = oldpeer.Dial(nc, oldpeer.Config{
		ClientID: id, Lag: time.Millisecond,
		Handle: func(_ context.Context, _ *oldpeer.Session, p wire1.Packet) ([]byte, error) {
			if string(p.Key) != "echo" {
				return nil, errors.New("no such rpc: " + string(p.Key))
			}
			return p.Value, nil
		},
		Message: func(*oldpeer.Session, wire1.Packet) error { m.n.add(); return nil },
		Opened:  func(s *oldpeer.Session) error { own[s.ID] = true; return nil },
		Raw: func(s *oldpeer.Session, b []byte) {
			if own[s.ID] {
				s.Write(b)
				return
			}
			m.mu.Lock()
			m.bytes[s.ID] = append(m.bytes[s.ID], b...)
			m.cond.Broadcast()
			m.mu.Unlock()
		},
	})
	require.NoError(t, err)
	require.Equal(t, id, m.p.ClientID())
	return m
}

func (m *oldMember) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

func (m *oldMember) call(to uint64, data []byte) ([]byte, error) {
	ctx, cancel := m.within()
	defer cancel()
	return m.p.Call(ctx, fmt.Sprintf("%d/echo", to), data)
}

func (m *oldMember) publish(to uint64, data []byte) error {
	ctx, cancel := m.within()
	defer cancel()
	return m.p.Publish(ctx, fmt.Sprint(to), data)
}

func (m *oldMember) stream(to uint64, data []byte) ([]byte, error) {
	ctx, cancel := m.within()
	defer cancel()
	s, err := m.p.Open(ctx, fmt.Sprint(to), nil)
	if err != nil {
		return nil, err
	}
	if _, err := s.Write(data); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, m.cond.Broadcast)
	defer stop()
	m.mu.Lock()
	for len(m.bytes[s.ID]) < len(data) && ctx.Err() == nil && m.p.Err() == nil {
		m.cond.Wait()
	}
	back := m.bytes[s.ID]
	delete(m.bytes, s.ID)
	m.mu.Unlock()
	return back, s.Dismiss(ctx)
}

func (m *oldMember) got() int { return m.n.get() }

func (m *oldMember) close() {
	ctx, cancel := m.within()
	defer cancel()
	m.p.Shut(ctx)
}

// wantMembers requires that each member can call, publish to, and open a stream to each member.
func wantMembers(t *testing.T, members map[uint64]member) {
	t.Helper()
	before := make(map[uint64]int)
	for id, m := range members {
		before[id] = m.got()
	}
	var wg sync.WaitGroup
	for from, m := range members {
		wg.Go(func() {
			for to := range members {
				data := bytes.Repeat(fmt.Appendf(nil, "%d to %d,", from, to), 1+int(from*to%200))
				back, err := m.call(to, data)
				assert.NoError(t, err, "a call from %d to %d", from, to)
				assert.True(t, bytes.Equal(data, back), "a call from %d to %d", from, to)
				assert.NoError(t, m.publish(to, data), "a message from %d to %d", from, to)
				large := bytes.Repeat(data, 10)
				back, err = m.stream(to, large)
				assert.NoError(t, err, "a stream from %d to %d", from, to)
				assert.True(t, bytes.Equal(large, back), "a stream from %d to %d: read %d bytes, want %d", from, to, len(back), len(large))
			}
		})
	}
	wg.Wait()
	for id, m := range members {
		assert.Equal(t, before[id]+len(members), m.got(), "messages of %d", id)
	}
}

// Ten clients of wire 1 and ten of wire 2 talk to each other through one listener. The clients
// of wire 1 are replaced one after the other by clients of wire 2 with the same ids, and one of
// them is put back.
func TestRollingUpgrade(t *testing.T) {
	h := newHub(t)
	const each = 10
	members := make(map[uint64]member)
	for id := uint64(1); id <= each; id++ {
		members[id] = h.join(t, id, joinOld)
		members[each+id] = h.join(t, each+id, joinNew)
	}
	wantMembers(t, members)

	for id := uint64(1); id <= each; id++ {
		a, b := members[each+id], members[id%each+1] // b speaks wire 1 in all rounds but the last
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				_, err := a.call(id%each+1, []byte("meanwhile"))
				assert.NoError(t, err)
				_, err = b.call(each+id, []byte("meanwhile"))
				assert.NoError(t, err)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		m := h.join(t, id, joinNew) // replaces the client with the id
		close(stop)
		wg.Wait()
		members[id].close()
		members[id] = m
	}
	wantMembers(t, members)

	old := h.join(t, 1, joinOld)
	members[1].close()
	members[1] = old
	wantMembers(t, map[uint64]member{1: old, 2: members[2], 20: members[20]})
	for _, m := range members {
		m.close()
	}
}
