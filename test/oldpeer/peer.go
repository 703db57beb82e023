package oldpeer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/singchia/geminio/internal/wire1"
)

// Config has the behavior of a Peer. The zero value is useful. The functions are called in
// goroutines of their own, unless their comments say otherwise.
type Config struct {
	// ClientID is the id that a client asks for, or that a server gives: 1001 by default.
	ClientID uint64
	Meta     []byte // of a client
	Refuse   string // if not empty: the text with which a server refuses the client
	// Skew is the time by which the clock of the peer is ahead.
	Skew time.Duration
	// Period is the interval of the heartbeats of a client: 20 s by default.
	Period time.Duration
	// Newer makes the peer one of release 1.3, which knows RequestCancel.
	Newer bool
	// Lag is the time that a client takes to record a session that it has opened. Packets
	// for the session that arrive before are lost.
	Lag time.Duration
	// LateAnswer makes the peer send its own DisConn before the answer to that of the other
	// side.
	LateAnswer bool

	// Handle serves a call; nil serves none.
	Handle func(ctx context.Context, s *Session, p wire1.Packet) ([]byte, error)
	// Message handles a message, whose ack has the error. If it is nil, all messages are
	// acknowledged.
	Message func(s *Session, p wire1.Packet) error
	// Raw handles raw bytes in their order, in the reading goroutine.
	Raw func(s *Session, b []byte)
	// Opened is called for a session that the other side opens. An error refuses it.
	Opened func(s *Session) error
	// Dismissed is called at the end of a session, in the reading goroutine.
	Dismissed func(s *Session)
	// Sees is called for each packet that arrives, in the reading goroutine.
	Sees func(p wire1.Packet)
}

// Peer is a peer of wire 1 that has completed the handshake. Its methods are safe for concurrent
// use.
type Peer struct {
	*Session // the default session

	cfg    Config
	nc     net.Conn
	client bool
	id     uint64

	qmu   sync.Mutex
	qcond *sync.Cond // with qmu: signals changes of the queue
	queue []byte     // bytes to write
	shut  bool       // no further bytes may be queued

	mu       sync.Mutex
	lastID   uint64
	sessions map[uint64]*Session
	waits    map[waitKey]chan wire1.Packet
	cancels  map[uint64]context.CancelFunc
	lost     int
	said     bool // a DisConn was sent
	heard    bool
	acked    bool
	err      error
	over     chan struct{}

	done chan struct{} // closed when all goroutines except those of callbacks have ended
}

type waitKey struct {
	typ wire1.Type
	id  uint64
}

// Session is a stream of wire 1.
type Session struct {
	ID    uint64
	Meta  []byte
	Name  string // the name of the peer in the packet of the opener
	peer  *Peer
	ended chan struct{}
	once  sync.Once
}

// Dial performs the handshake of a client. It does not close nc on an error.
func Dial(nc net.Conn, cfg Config) (*Peer, error) {
	p := newPeer(nc, cfg, true)
	hello := wire1.Packet{
		Type: wire1.TypeConn, ID: p.newID(), Flags: 0x10 | wire1.FlagAcquire, Client: cfg.ClientID, Meta: cfg.Meta,
	}
	if _, err := nc.Write(wire1.Append(nil, hello)); err != nil {
		return nil, err
	}
	ack, err := Read(nc)
	if err != nil {
		return nil, err
	}
	switch {
	case ack.Type != wire1.TypeConnAck || ack.ID != hello.ID:
		return nil, fmt.Errorf("oldpeer: the answer to a conn is %v", ack.Type)
	case ack.Error != "":
		return nil, errors.New(ack.Error)
	}
	p.id = ack.Client
	p.start()
	return p, nil
}

// Accept performs the handshake of a server. It does not close nc on an error.
func Accept(nc net.Conn, cfg Config) (*Peer, error) {
	p := newPeer(nc, cfg, false)
	hello, err := Read(nc)
	if err != nil {
		return nil, err
	}
	if hello.Type != wire1.TypeConn {
		return nil, fmt.Errorf("oldpeer: the first packet is %v", hello.Type)
	}
	p.id = 1001
	if cfg.ClientID != 0 {
		p.id = cfg.ClientID
	} else if hello.Client != 0 {
		p.id = hello.Client
	}
	p.Meta = hello.Meta
	ack := wire1.Packet{Type: wire1.TypeConnAck, ID: hello.ID, Client: p.id}
	if cfg.Refuse != "" {
		ack.Client, ack.Code, ack.Error = 0, 1, cfg.Refuse
	}
	if _, err := nc.Write(wire1.Append(nil, ack)); err != nil {
		return nil, err
	}
	if cfg.Refuse != "" {
		return nil, errors.New(cfg.Refuse)
	}
	p.start()
	return p, nil
}

func newPeer(nc net.Conn, cfg Config, client bool) *Peer {
	if cfg.Period == 0 {
		cfg.Period = 20 * time.Second
	}
	p := &Peer{
		cfg: cfg, nc: nc, client: client, over: make(chan struct{}), done: make(chan struct{}),
		sessions: make(map[uint64]*Session), waits: make(map[waitKey]chan wire1.Packet),
		cancels: make(map[uint64]context.CancelFunc),
	}
	p.qcond = sync.NewCond(&p.qmu)
	p.lastID = uint64(p.now().Unix())<<32 | 0x644f8bd8
	p.Session = p.session(1)
	p.Session.Meta = cfg.Meta
	return p
}

func (p *Peer) now() time.Time { return time.Now().Add(p.cfg.Skew) }

func (p *Peer) newID() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastID += 2
	return p.lastID
}

func (p *Peer) session(id uint64) *Session {
	s := &Session{ID: id, peer: p, ended: make(chan struct{})}
	p.mu.Lock()
	p.sessions[id] = s
	p.mu.Unlock()
	return s
}

func (p *Peer) start() {
	var wg sync.WaitGroup
	wg.Go(p.read)
	wg.Go(p.write)
	if p.client {
		wg.Go(p.beat)
	}
	go func() {
		wg.Wait()
		p.nc.Close()
		close(p.done)
	}()
}

// ClientID returns the id that the client got.
func (p *Peer) ClientID() uint64 { return p.id }

// Over returns a channel that is closed at the end of the connection.
func (p *Peer) Over() <-chan struct{} { return p.over }

// Err returns the cause of the end of the connection: io.EOF if both sides have closed it.
func (p *Peer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Lost returns the number of packets that arrived for unknown sessions.
func (p *Peer) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// maxQueue is the number of queued bytes above which Send waits.
const maxQueue = 256 << 10

// Send sends a packet. An id of 0 is replaced by a new one, which is returned.
func (p *Peer) Send(q wire1.Packet) (id uint64, err error) {
	p.qmu.Lock()
	for len(p.queue) > maxQueue && !p.shut {
		p.qcond.Wait()
	}
	p.qmu.Unlock()
	return p.post(q)
}

// post is Send for goroutines that must not wait.
func (p *Peer) post(q wire1.Packet) (id uint64, err error) {
	if q.ID == 0 {
		q.ID = p.newID()
	}
	p.qmu.Lock()
	defer p.qmu.Unlock()
	if p.shut {
		return q.ID, net.ErrClosed
	}
	p.queue = wire1.Append(p.queue, q)
	p.qcond.Broadcast()
	return q.ID, nil
}

// write writes the queue until the end.
func (p *Peer) write() {
	for {
		p.qmu.Lock()
		for len(p.queue) == 0 && !p.shut {
			p.qcond.Wait()
		}
		b := p.queue
		p.queue = nil
		p.qcond.Broadcast()
		p.qmu.Unlock()
		if len(b) == 0 {
			return
		}
		if _, err := p.nc.Write(b); err != nil {
			p.end(err)
			return
		}
	}
}

// close ends the queue.
func (p *Peer) close() {
	p.qmu.Lock()
	defer p.qmu.Unlock()
	p.shut = true
	p.qcond.Broadcast()
}

// Read reads one packet.
func Read(r io.Reader) (wire1.Packet, error) {
	var header [wire1.HeaderLen]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return wire1.Packet{}, err
	}
	h, err := wire1.ParseHeader(header[:])
	if err != nil {
		return wire1.Packet{}, err
	}
	if h.Length > wire1.MaxBody {
		return wire1.Packet{}, fmt.Errorf("oldpeer: %v of %d bytes", h.Type, h.Length)
	}
	body := make([]byte, h.Length)
	if _, err := io.ReadFull(r, body); err != nil {
		return wire1.Packet{}, err
	}
	return wire1.Parse(h, body)
}

// end ends the connection. The first cause counts.
func (p *Peer) end(err error) {
	p.mu.Lock()
	first := p.err == nil
	if first {
		p.err = err
		close(p.over)
	}
	sessions := p.sessions
	p.sessions = make(map[uint64]*Session)
	cancels := p.cancels
	p.cancels = make(map[uint64]context.CancelFunc)
	p.mu.Unlock()
	p.close()
	if err != io.EOF { // after io.EOF the last packet is still to be written
		p.nc.Close()
	}
	for _, cancel := range cancels {
		cancel()
	}
	for _, s := range sessions {
		s.end()
	}
}

// end closes ended and calls Dismissed, once.
func (s *Session) end() {
	s.once.Do(func() {
		close(s.ended)
		if f := s.peer.cfg.Dismissed; f != nil {
			f(s)
		}
	})
}

// Ended returns a channel that is closed when the session is dismissed.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Cut closes the transport without a DisConn, and waits for the goroutines of the peer.
func (p *Peer) Cut() {
	p.end(net.ErrClosed)
	<-p.done
}

// beat sends the heartbeats of a client.
func (p *Peer) beat() {
	t := time.NewTicker(p.cfg.Period)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.mu.Lock()
			closing := p.said || p.heard
			p.mu.Unlock()
			if !closing {
				p.post(wire1.Packet{Type: wire1.TypeHeartbeat})
			}
		case <-p.over:
			return
		}
	}
}

// read reads packets until the end.
func (p *Peer) read() {
	for {
		q, err := Read(p.nc)
		if err == nil {
			if f := p.cfg.Sees; f != nil {
				f(q)
			}
			err = p.take(q)
		}
		if err != nil {
			p.mu.Lock()
			if (p.said || p.heard) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
				err = io.EOF
			}
			p.mu.Unlock()
			p.end(err)
			return
		}
	}
}

// take handles a packet. An error ends the connection, as it does in the earlier releases.
func (p *Peer) take(q wire1.Packet) error {
	switch q.Type {
	case wire1.TypeConn, wire1.TypeConnAck:
		return fmt.Errorf("oldpeer: %v after the handshake", q.Type)
	case wire1.TypeHeartbeat:
		if p.client {
			return errors.New("oldpeer: a heartbeat of a server")
		}
		_, err := p.post(wire1.Packet{Type: wire1.TypeHeartbeatAck, ID: q.ID})
		return err
	case wire1.TypeHeartbeatAck:
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.client || p.said || p.heard {
			return errors.New("oldpeer: a heartbeatack while closing")
		}
	case wire1.TypeDisConn:
		return p.disconnected(q)
	case wire1.TypeDisConnAck:
		p.mu.Lock()
		p.acked = true
		p.mu.Unlock()
		return p.settle()
	case wire1.TypeSession:
		return p.opened(q)
	case wire1.TypeDismiss:
		return p.dismissed(q)
	case wire1.TypeSessionAck, wire1.TypeDismissAck, wire1.TypeMessageAck, wire1.TypeResponse, wire1.TypeRegisterAck:
		p.wake(q)
	case wire1.TypeRequestCancel:
		if !p.cfg.Newer {
			return errors.New("oldpeer: a requestcancel, which this release does not know")
		}
		p.mu.Lock()
		cancel := p.cancels[q.ID]
		p.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	default:
		p.mu.Lock()
		s := p.sessions[q.Session]
		if s == nil {
			p.lost++
		}
		p.mu.Unlock()
		if s != nil {
			return s.take(q)
		}
	}
	return nil
}

// take handles a packet of the session.
func (s *Session) take(q wire1.Packet) error {
	p := s.peer
	switch q.Type {
	case wire1.TypeStream:
		if p.cfg.Raw != nil {
			p.cfg.Raw(s, q.Raw)
		}
	case wire1.TypeMessage:
		go func() {
			ack := wire1.Packet{Type: wire1.TypeMessageAck, ID: q.ID, Session: s.ID}
			if p.cfg.Message != nil {
				if err := p.cfg.Message(s, q); err != nil {
					ack.Error = err.Error()
				}
			}
			p.post(ack)
		}()
	case wire1.TypeRequest:
		ctx, cancel := context.WithCancel(context.Background())
		if !q.ContextDeadline.IsZero() {
			ctx, cancel = context.WithTimeout(ctx, q.ContextDeadline.Sub(p.now()))
		}
		p.mu.Lock()
		p.cancels[q.ID] = cancel
		p.mu.Unlock()
		go func() {
			resp := wire1.Packet{Type: wire1.TypeResponse, ID: q.ID, Session: s.ID}
			resp.Key = q.Key
			err := fmt.Errorf("no such rpc: %s", q.Key)
			if p.cfg.Handle != nil {
				resp.Value, err = p.cfg.Handle(ctx, s, q)
			}
			if err != nil {
				resp.Error = err.Error()
			}
			p.mu.Lock()
			delete(p.cancels, q.ID)
			p.mu.Unlock()
			cancel()
			p.post(resp)
		}()
	case wire1.TypeRegister:
		_, err := p.post(wire1.Packet{Type: wire1.TypeRegisterAck, ID: q.ID, Session: s.ID})
		return err
	}
	return nil
}

// opened handles the packet with which the other side opens a session.
func (p *Peer) opened(q wire1.Packet) error {
	id := q.Negotiate
	if !p.client {
		if q.Flags&wire1.FlagAcquireSession == 0 {
			return errors.New("oldpeer: a client that chooses a session id")
		}
		id = p.newID()
	} else if q.Flags&wire1.FlagAcquireSession != 0 {
		return errors.New("oldpeer: a server that wants a session id")
	}
	s := &Session{ID: id, Meta: q.Meta, Name: q.Peer, peer: p, ended: make(chan struct{})}
	ack := wire1.Packet{Type: wire1.TypeSessionAck, ID: q.ID, Negotiate: q.Negotiate, Session: id}
	if p.cfg.Opened != nil {
		if err := p.cfg.Opened(s); err != nil {
			ack.Error = err.Error()
		}
	}
	if ack.Error == "" {
		p.mu.Lock()
		p.sessions[id] = s
		p.mu.Unlock()
	}
	_, err := p.post(ack)
	return err
}

// dismissed answers a Dismiss.
func (p *Peer) dismissed(q wire1.Packet) error {
	p.mu.Lock()
	s := p.sessions[q.Session]
	delete(p.sessions, q.Session)
	p.mu.Unlock()
	if _, err := p.post(wire1.Packet{Type: wire1.TypeDismissAck, ID: q.ID, Session: q.Session}); err != nil {
		return err
	}
	if s == nil {
		return nil
	}
	s.end()
	_, err := p.post(wire1.Packet{Type: wire1.TypeDismiss, Session: q.Session})
	return err
}

// disconnected answers a DisConn.
func (p *Peer) disconnected(q wire1.Packet) error {
	p.mu.Lock()
	said := p.said
	p.said, p.heard = true, true
	p.mu.Unlock()
	packets := []wire1.Packet{{Type: wire1.TypeDisConnAck, ID: q.ID}}
	if !said {
		packets = append(packets, wire1.Packet{Type: wire1.TypeDisConn})
		if p.cfg.LateAnswer {
			packets[0], packets[1] = packets[1], packets[0]
		}
	}
	for _, q := range packets {
		if _, err := p.post(q); err != nil {
			return err
		}
	}
	return p.settle()
}

// settle ends the connection when each side has sent its DisConn and the answer to the other.
func (p *Peer) settle() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said && p.heard && p.acked {
		return io.EOF
	}
	return nil
}
