package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The numbers of docs/wire.md.
const (
	typePing       = 0x01
	typePong       = 0x02
	typeGoaway     = 0x03
	typeClose      = 0x04
	typeCredit     = 0x05
	typeOpen       = 0x10
	typeAccept     = 0x11
	typeRefuse     = 0x12
	typeData       = 0x13
	typeStop       = 0x14
	typeReset      = 0x15
	typeRequest    = 0x20
	typeResponse   = 0x21
	typeMessage    = 0x22
	typeAck        = 0x23
	typeRegister   = 0x24
	typeRegistered = 0x25
	typeCancel     = 0x26
	typeAbandon    = 0x27

	flagFin   = 1
	flagClose = 2
	flagMore  = 1
	flagNext  = 2
	flagShare = 4

	classRaw       = 0
	classMessages  = 1
	classHandlers  = 2
	classMessage   = 3 // of large ones
	classRequests  = 4
	classResponses = 5

	codeCanceled = 2
	codeNoMethod = 4
	codeLimit    = 6
	codeProtocol = 9
)

// offer is the value of "wire2" in a handshake packet.
type offer struct {
	Frame    int    `json:"frame"`
	Message  int    `json:"message"`
	Streams  int    `json:"streams"`
	Raw      int    `json:"raw"`
	Messages int    `json:"messages"`
	Small    int    `json:"small,omitempty"`
	Handlers int    `json:"handlers"`
	Large    int    `json:"large"`
	Requests int    `json:"requests,omitempty"`
	Session  []byte `json:"session,omitempty"`
	Metadata int    `json:"metadata,omitempty"`
}

// small returns the length of the longest body that is small for the side with the offer.
func (o offer) small() int {
	n := min(o.Frame-12, 8192)
	if o.Small > 0 {
		n = min(n, o.Small)
	}
	return n
}

// remote is an error of the server.
type remote struct {
	code uint32
	text string
}

func (e *remote) Error() string { return fmt.Sprintf("%s (code %d)", e.text, e.code) }

var errOver = errors.New("the stream or the connection has ended")

// client is a client of wire 2. It is safe for concurrent use.
type client struct {
	nc          net.Conn
	id          uint64
	own, server offer
	metadata    list // of the server's handshake

	sending sync.Mutex // held while a frame is written; no other lock is taken under it
	said    bool       // a close frame was sent; guarded by sending

	mu       sync.Mutex
	changed  *sync.Cond
	credit   [6]int // of the connection; a stream has the credit of classes 0 and 1
	streams  map[uint64]*stream
	next     uint64 // the number of the next stream
	number   uint64 // the number of the last packet
	waiting  map[uint64]chan answer
	away     bool
	begun    int    // the number of packets and raw bytes in progress
	pong     []byte // a pong to send when begun is 0, or nil
	over     bool   // reading has ended
	cause    error
	handlers map[string]func(body []byte, canceled <-chan struct{}) ([]byte, *remote)
	serving  map[uint64]chan struct{}
	asked    list           // the metadata of the last request
	replies  list           // the metadata of all responses
	opened   chan *stream   // receives the streams that the server opens; nil: they are refused
	learnt   []string       // the methods that the server has registered
	work     sync.WaitGroup // the handlers and the goroutine of the pings
	quit     chan struct{}  // closed at the end
}

// answer is a response, an ack or a registered.
type answer struct {
	err          error
	metadata     list
	data, custom []byte
}

// stream is one stream of a client, whose mu guards it.
type stream struct {
	c          *client
	id         uint64
	peer, meta string
	metadata   list       // of a stream that the server has opened
	sent       sync.Mutex // held while the fragments of a message are sent; taken before client.mu
	credit     [2]int
	first      int  // the server's first credit for messages
	answered   bool // the server has answered the open frame
	open       bool
	err        error // the cause of the end
	closeSent  bool
	stopped    bool // the server reads no more raw bytes
	raw        []byte
	fin        bool
	read       int // raw bytes for which no credit was given yet
	inbox      []message
	parts      map[part]*assembly
}

// message is a message that the server has published.
type message struct {
	number              uint64
	cnss                byte
	metadata            list
	topic, custom, data string
	cost                int
}

// part identifies a packet that arrives in fragments.
type part struct {
	typ    byte
	number uint64
}

type assembly struct {
	total int
	body  []byte
}

// connect performs the handshake with the offer.
func connect(nc net.Conn, own offer, wish uint64, meta []byte) (*client, error) {
	return connectWith(nc, own, wish, map[string]any{"meta": meta, "wire2": own})
}

// connectWith is connect with all keys of the client's JSON object.
func connectWith(nc net.Conn, own offer, wish uint64, keys map[string]any) (*client, error) {
	object, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	b := []byte{1, 1}
	b = binary.BigEndian.AppendUint64(b, 4711)
	b = binary.BigEndian.AppendUint32(b, uint32(10+len(object)))
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint64(b, wish)
	if _, err := nc.Write(append(b, object...)); err != nil {
		return nil, err
	}

	header := make([]byte, 14)
	if _, err := io.ReadFull(nc, header); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(header[10:])
	if header[0] != 1 || header[1] != 2 || binary.BigEndian.Uint64(header[2:]) != 4711 || n < 9 || n > 65536 {
		return nil, fmt.Errorf("not a ConnAck: % x", header)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(nc, body); err != nil {
		return nil, err
	}
	var ack struct {
		Error    string
		Code     uint32
		Metadata []byte
		Wire2    *offer
	}
	if err := json.Unmarshal(body[9:], &ack); err != nil {
		return nil, err
	}
	switch {
	case body[0] != 0 || ack.Error != "":
		return nil, &remote{ack.Code, ack.Error}
	case ack.Wire2 == nil:
		return nil, errors.New("the server speaks wire 1 only")
	}
	c := &client{
		nc: nc, id: binary.BigEndian.Uint64(body[1:]), own: own, server: *ack.Wire2, metadata: parseList(ack.Metadata),
		streams: make(map[uint64]*stream), next: 3, waiting: make(map[uint64]chan answer),
		serving:  make(map[uint64]chan struct{}),
		quit:     make(chan struct{}),
		handlers: make(map[string]func([]byte, <-chan struct{}) ([]byte, *remote)),
	}
	c.changed = sync.NewCond(&c.mu)
	s := c.server
	if s.Requests == 0 {
		s.Requests = s.Large
	}
	c.credit = [6]int{classHandlers: s.Handlers, classMessage: s.Large, classRequests: s.Requests, classResponses: s.Large}
	c.streams[1] = c.newStream(1, s.Raw, s.Messages)
	c.streams[1].open = true
	return c, nil
}

func (c *client) newStream(id uint64, raw, messages int) *stream {
	return &stream{c: c, id: id, credit: [2]int{raw, messages}, first: messages, parts: make(map[part]*assembly)}
}

// main returns stream 1.
func (c *client) main() *stream { return c.find(1) }

func (c *client) find(id uint64) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[id]
}

// frame sends a frame. It does nothing after a close frame was sent.
func (c *client) frame(typ, flags byte, stream uint64, payload ...[]byte) {
	var all []byte
	for _, p := range payload {
		all = append(all, p...)
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(typ)<<56|uint64(flags)<<48|stream)
	b = binary.BigEndian.AppendUint32(b, uint32(len(all)))
	c.sending.Lock()
	defer c.sending.Unlock()
	if !c.said {
		c.said = typ == typeClose
		c.nc.Write(append(b, all...)) // after an error reading fails too
	}
}

func u32(n int) []byte    { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// give sends a credit frame.
func (c *client) give(stream uint64, class byte, n int) {
	if n > 0 {
		c.frame(typeCredit, 0, stream, []byte{class}, u32(n))
	}
}

// notice returns the payload of goaway, close, refuse, stop and reset.
func notice(code int, text string) []byte {
	return append(append(u32(code), 0, 0, 0, 0), text...)
}

// beat is the interval of the pings. The client gives the server up after two intervals without
// a byte.
const beat = 20 * time.Second

// run reads frames until the connection ends.
func (c *client) run() {
	c.work.Go(func() {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.frame(typePing, 0, 0, u64(uint64(time.Now().UnixNano())))
			case <-c.quit:
				return
			}
		}
	})
	err := c.loop()
	c.mu.Lock()
	c.over, c.cause = true, err
	end := errOver
	if err != nil { // streams without a fin flag are incomplete
		end = fmt.Errorf("the connection is lost: %w", err)
	}
	for _, s := range c.streams {
		c.endLocked(s, end)
	}
	for number, canceled := range c.serving {
		close(canceled)
		delete(c.serving, number)
	}
	c.mu.Unlock()
	close(c.quit)
	c.changed.Broadcast()
	c.frame(typeClose, 0, 0, notice(0, ""))
	c.nc.Close()
	c.work.Wait()
}

func (c *client) loop() error {
	header := make([]byte, 12)
	for {
		c.nc.SetReadDeadline(time.Now().Add(2 * beat))
		if _, err := io.ReadFull(c.nc, header); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint32(header[8:]))
		if n > c.own.Frame {
			return fmt.Errorf("a frame of %d bytes", n)
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(c.nc, payload); err != nil {
			return err
		}
		id := binary.BigEndian.Uint64(header) & (1<<48 - 1)
		if header[0] == typeClose {
			if code := binary.BigEndian.Uint32(payload); code != 0 {
				return &remote{code, string(payload[8:])}
			}
			return nil
		}
		if err := c.take(header[0], header[1], id, payload); err != nil {
			return err
		}
	}
}

// take handles a frame. It does not block.
func (c *client) take(typ, flags byte, id uint64, p []byte) error {
	switch typ {
	case typePing:
		c.mu.Lock()
		wait := c.away && c.begun > 0
		if wait {
			c.pong = p
		}
		c.mu.Unlock()
		if !wait {
			c.frame(typePong, 0, 0, p)
		}
		return nil
	case typePong:
		return nil
	case typeGoaway:
		c.mu.Lock()
		c.away = true
		c.mu.Unlock()
		c.changed.Broadcast()
		return nil
	case typeCredit:
		class, n := p[0], int(binary.BigEndian.Uint32(p[1:]))
		c.mu.Lock()
		if class >= classHandlers {
			c.credit[class] += n
		} else if s := c.streams[id]; s != nil {
			s.credit[class] += n
		}
		c.mu.Unlock()
		c.changed.Broadcast()
		return nil
	case typeOpen:
		c.takeOpen(id, p)
		return nil
	}
	switch {
	case typ >= typeAccept && typ <= typeReset:
		c.takeStream(typ, flags, id, p)
	case typ >= typeRequest && typ <= typeAbandon:
		c.takeFragment(typ, flags, id, p)
	case typ < 0x80:
		c.frame(typeClose, 0, 0, notice(codeProtocol, "unknown type"))
		return fmt.Errorf("unknown type %#x", typ)
	}
	return nil
}

func (c *client) takeOpen(id uint64, p []byte) {
	c.mu.Lock()
	if c.opened == nil || len(c.opened) == cap(c.opened) || c.away {
		c.mu.Unlock()
		c.frame(typeRefuse, 0, id, notice(codeLimit, "no streams, please"))
		return
	}
	s := c.newStream(id, int(binary.BigEndian.Uint32(p)), int(binary.BigEndian.Uint32(p[4:])))
	n := int(binary.BigEndian.Uint16(p[8:]))
	p, md := p[10:], 0
	if n&0x8000 != 0 {
		n, md, p = n&0x7fff, int(binary.BigEndian.Uint32(p)), p[4:]
	}
	s.peer, s.metadata, s.meta, s.open = string(p[:n]), parseList(p[n:n+md]), string(p[n+md:]), true
	c.streams[id] = s
	c.mu.Unlock()
	c.frame(typeAccept, 0, id, u32(c.own.Raw), u32(c.own.Messages))
	c.opened <- s
}

// takeStream handles the frames that open, accept and close streams, and raw bytes.
func (c *client) takeStream(typ, flags byte, id uint64, p []byte) {
	reply := false
	c.mu.Lock()
	s := c.streams[id]
	switch {
	case s == nil: // the stream has ended
	case typ == typeAccept:
		s.credit = [2]int{int(binary.BigEndian.Uint32(p)), int(binary.BigEndian.Uint32(p[4:]))}
		s.first = s.credit[1]
		s.answered, s.open = true, true
	case typ == typeRefuse, typ == typeReset:
		s.answered = true
		c.endLocked(s, &remote{binary.BigEndian.Uint32(p), string(p[8:])})
		delete(c.streams, id)
	case typ == typeStop:
		s.stopped = true
	default:
		if !s.closeSent {
			s.raw = append(s.raw, p...)
		}
		s.fin = s.fin || flags&flagFin != 0
		if flags&flagClose != 0 {
			reply, s.closeSent = !s.closeSent, true
			c.endLocked(s, errOver)
			delete(c.streams, id)
		}
	}
	c.mu.Unlock()
	c.changed.Broadcast()
	c.drop(s, false)
	if reply {
		c.frame(typeData, flagFin|flagClose, id)
	}
}

// endLocked fails the blocked operations of a stream. Complete messages can still be received.
// The caller holds mu and calls drop after that.
func (c *client) endLocked(s *stream, err error) {
	if s.err == nil {
		s.err = err
	}
	s.open = false
}

// drop gives back the credit of unfinished packets on a stream that has ended, and that of its
// messages if all is true.
func (c *client) drop(s *stream, all bool) {
	if s == nil {
		return
	}
	c.mu.Lock()
	if s.open {
		c.mu.Unlock()
		return
	}
	parts, inbox := s.parts, s.inbox
	s.parts = make(map[part]*assembly)
	if all {
		s.inbox = nil
	} else {
		inbox = nil
	}
	c.mu.Unlock()
	for key, a := range parts {
		c.release(nil, key.typ, a.total)
	}
	for _, m := range inbox {
		c.release(nil, typeMessage, m.cost)
	}
}

// takeFragment handles a frame with a packet, or a fragment of one.
func (c *client) takeFragment(typ, flags byte, id uint64, p []byte) {
	key := part{typ, binary.BigEndian.Uint64(p)}
	p = p[8:]
	total := len(p)
	if flags == flagMore {
		total, p = int(binary.BigEndian.Uint32(p)), p[4:]
	}
	c.mu.Lock()
	s := c.streams[id]
	if s == nil || !s.open {
		c.mu.Unlock()
		if flags&flagNext == 0 {
			c.release(nil, typ, total)
		}
		return
	}
	if flags&flagNext == 0 {
		s.parts[key] = &assembly{total: total}
	}
	a := s.parts[key]
	if a == nil || len(a.body)+len(p) > a.total {
		c.mu.Unlock()
		return // the server violates the protocol
	}
	a.body = append(a.body, p...)
	if flags&flagMore != 0 {
		c.mu.Unlock()
		return
	}
	delete(s.parts, key)
	c.mu.Unlock()
	c.takePacket(s, typ, key.number, a.body)
}

// release gives credit back for a packet. The stream is nil if it has ended.
func (c *client) release(s *stream, typ byte, size int) {
	large := size > c.own.small()
	switch {
	case typ == typeMessage && large:
		id := uint64(0)
		if s != nil {
			id = s.id
		}
		c.give(id, classMessage, size)
	case typ == typeMessage && size+128 > c.own.Messages/2:
		id := uint64(0)
		if s != nil {
			id = s.id
		}
		c.give(id, classMessage, size+128)
	case typ == typeMessage && s != nil:
		c.give(s.id, classMessages, size+128)
	case typ == typeRequest, typ == typeRegister:
		c.give(0, classHandlers, 1)
		if large {
			c.give(0, classRequests, size)
		}
	case typ == typeResponse && large:
		c.give(0, classResponses, size)
	}
}

// takePacket handles a complete packet.
func (c *client) takePacket(s *stream, typ byte, number uint64, b []byte) {
	switch typ {
	case typeRequest:
		c.takeRequest(s, number, b)
	case typeMessage:
		m := message{number: number, cnss: b[16], cost: len(b)}
		name, md, custom, data := split(int(binary.BigEndian.Uint16(b[17:])), b[19:])
		m.topic, m.metadata, m.custom, m.data = string(name), md, string(custom), string(data)
		c.mu.Lock()
		s.inbox = append(s.inbox, m)
		c.mu.Unlock()
		c.changed.Broadcast()
	case typeRegister:
		c.mu.Lock()
		c.learnt = append(c.learnt, string(b))
		c.mu.Unlock()
		c.changed.Broadcast()
		c.frame(typeRegistered, 0, s.id, u64(number), u32(0))
		c.release(s, typ, len(b))
	case typeCancel:
		c.mu.Lock()
		if canceled := c.serving[number]; canceled != nil {
			close(canceled)
			delete(c.serving, number)
		}
		c.mu.Unlock()
	case typeAbandon:
		c.mu.Lock()
		a := s.parts[part{b[0], number}]
		delete(s.parts, part{b[0], number})
		c.mu.Unlock()
		if a != nil {
			c.release(s, b[0], a.total)
		}
	case typeResponse:
		text, md, custom, data := split(int(binary.BigEndian.Uint32(b[4:])), b[8:])
		c.answer(number, binary.BigEndian.Uint32(b), string(text), md, custom, data)
		c.release(s, typ, len(b))
	case typeAck, typeRegistered:
		c.answer(number, binary.BigEndian.Uint32(b), string(b[4:]), nil, nil, nil)
	}
}

func (c *client) answer(number uint64, code uint32, text string, md list, custom, data []byte) {
	c.mu.Lock()
	ch := c.waiting[number]
	delete(c.waiting, number)
	c.mu.Unlock()
	if ch == nil {
		return // no operation waits for the answer
	}
	a := answer{metadata: md, data: data, custom: custom}
	if code != 0 {
		a.err = &remote{code, text}
	}
	ch <- a
}

// takeRequest starts the handler of a request.
func (c *client) takeRequest(s *stream, number uint64, b []byte) {
	name, md, _, data := split(int(binary.BigEndian.Uint16(b[16:])), b[18:])
	method := string(name)
	canceled := make(chan struct{})
	c.mu.Lock()
	c.asked = md
	f := c.handlers[method]
	c.serving[number] = canceled
	c.mu.Unlock()
	c.work.Go(func() {
		no, result := &remote{codeNoMethod, "no such rpc: " + method}, []byte(nil)
		if f != nil {
			result, no = f(data, canceled)
		}
		code, text := 0, ""
		if no != nil {
			code, text = int(no.code), no.text
		}
		c.mu.Lock()
		delete(c.serving, number) // a cancel has no effect any more
		replies := c.replies
		c.mu.Unlock()
		body := append(append(u32(code), u32(len(text))...), lengths("", replies)...)
		body = append(append(body, text...), replies.bytes()...)
		s.send(typeResponse, number, append(body, result...))
		c.release(s, typeRequest, len(b))
	})
}

// cost returns the class and the number of bytes of credit that a packet costs.
func (s *stream) cost(typ byte, size int) (class byte, n int) {
	large := size > s.c.server.small()
	switch {
	case typ == typeMessage && large:
		return classMessage, size
	case typ == typeMessage && size+128 > s.first/2:
		return classMessage, size + 128
	case typ == typeMessage:
		return classMessages, size + 128
	case typ == typeRequest && large:
		return classRequests, size
	case typ == typeResponse && large:
		return classResponses, size
	}
	return classHandlers, 0
}

// pay takes the credit that a packet costs. It blocks until there is enough.
func (s *stream) pay(typ byte, size int) error {
	c := s.c
	class, n := s.cost(typ, size)
	from := &c.credit[class]
	if class == classMessages {
		from = &s.credit[class]
	}
	handlers := 0
	if typ == typeRequest || typ == typeRegister {
		handlers = 1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case !s.open:
			return s.err
		case c.away && s.id == 1 && typ != typeResponse:
			return errors.New("the server goes away")
		}
		if n <= *from && handlers <= c.credit[classHandlers] {
			break
		}
		c.changed.Wait()
	}
	*from -= n
	c.credit[classHandlers] -= handlers
	c.begun++
	return nil
}

// sent records that a packet was sent, and sends a pong that waits for the last one.
func (c *client) sent() {
	c.mu.Lock()
	c.begun--
	var pong []byte
	if c.begun == 0 {
		pong, c.pong = c.pong, nil
	}
	c.mu.Unlock()
	if pong != nil {
		c.frame(typePong, 0, 0, pong)
	}
}

// send sends a packet that costs credit, in one or several frames.
func (s *stream) send(typ byte, number uint64, body []byte) error {
	if typ == typeMessage {
		s.sent.Lock()
		defer s.sent.Unlock()
	}
	if err := s.pay(typ, len(body)); err != nil {
		return err
	}
	s.fragments(typ, number, body, nil)
	s.c.sent()
	return nil
}

// fragments sends the frames of a packet. If between is not nil, it calls between after each
// frame, and stops if that returns false.
func (s *stream) fragments(typ byte, number uint64, body []byte, between func() bool) {
	total, piece := len(body), s.c.server.Frame-12
	if total <= s.c.server.small() || total <= piece {
		piece = total
	}
	var first byte
	if typ == typeMessage && total <= s.c.server.small() && total+128 > s.first/2 {
		first = flagShare
	}
	for flags := first; ; flags |= flagNext {
		n := min(piece, len(body))
		flags &^= flagMore
		head := u64(number)
		if n < len(body) {
			flags |= flagMore
		}
		if flags == flagMore {
			head = append(head, u32(total)...)
		}
		s.c.frame(typ, flags, s.id, head, body[:n])
		body = body[n:]
		if len(body) == 0 || between != nil && !between() {
			return
		}
	}
}

// begin returns the number of a new packet and the channel of its answer.
func (c *client) begin() (uint64, chan answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
	ch := make(chan answer, 1)
	c.waiting[c.number] = ch
	return c.number, ch
}

// ask sends a packet and returns its answer.
func (s *stream) ask(typ byte, body []byte) (answer, error) {
	number, ch := s.c.begin()
	return s.askAs(typ, number, ch, body)
}

func (s *stream) askAs(typ byte, number uint64, ch chan answer, body []byte) (answer, error) {
	if err := s.send(typ, number, body); err != nil {
		return answer{}, err
	}
	return s.await(ch)
}

func (s *stream) await(ch chan answer) (answer, error) {
	ended := make(chan struct{})
	stop := s.c.when(func() bool { return !s.open }, func() { close(ended) })
	defer stop()
	select {
	case a := <-ch:
		return a, a.err
	case <-ended:
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case a := <-ch: // the answer came before the end
		return a, a.err
	default:
		return answer{}, s.err
	}
}

// when calls f with mu held as soon as cond returns true, unless stop is called before.
func (c *client) when(cond func() bool, f func()) (stop func()) {
	stopped, done := false, make(chan struct{})
	go func() {
		defer close(done)
		c.mu.Lock()
		defer c.mu.Unlock()
		for !cond() && !stopped {
			c.changed.Wait()
		}
		if !stopped {
			f()
		}
	}()
	return func() {
		c.mu.Lock()
		stopped = true
		c.mu.Unlock()
		c.changed.Broadcast()
		<-done
	}
}

// requestBody returns the body of a request, with metadata if there is any.
func requestBody(method string, timeout time.Duration, custom string, data []byte, md ...entry) []byte {
	b := append(u64(77), u64(uint64(timeout))...)
	return appendNamed(b, method, md, custom, data)
}

// messageBody returns the body of a message, with metadata if there is any.
func messageBody(cnss byte, topic, custom string, data []byte, md ...entry) []byte {
	b := append(append(u64(78), u64(0)...), cnss)
	return appendNamed(b, topic, md, custom, data)
}

// appendNamed appends the part of a body that begins with the length of a name.
func appendNamed(b []byte, name string, md list, custom string, data []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	b = append(b, lengths(custom, md)...)
	b = append(append(b, name...), md.bytes()...)
	return append(append(b, custom...), data...)
}

func (s *stream) call(method string, data []byte) ([]byte, error) {
	a, err := s.ask(typeRequest, requestBody(method, 0, "", data))
	return a.data, err
}

func (s *stream) register(method string, f func([]byte, <-chan struct{}) ([]byte, *remote)) error {
	s.c.mu.Lock()
	s.c.handlers[method] = f
	s.c.mu.Unlock()
	_, err := s.ask(typeRegister, []byte(method))
	return err
}

// publish sends a message and waits for its ack.
func (s *stream) publish(topic string, data []byte) error {
	_, err := s.ask(typeMessage, messageBody(2, topic, "", data))
	return err
}

// tell sends a message without an ack.
func (s *stream) tell(topic string, data []byte) error {
	return s.send(typeMessage, 0, messageBody(1, topic, "", data))
}

// receive returns the next message. The caller acknowledges it with done.
func (s *stream) receive() (message, error) {
	c := s.c
	c.mu.Lock()
	for len(s.inbox) == 0 && s.err == nil {
		c.changed.Wait()
	}
	if len(s.inbox) == 0 {
		defer c.mu.Unlock()
		return message{}, s.err
	}
	m := s.inbox[0]
	s.inbox = s.inbox[1:]
	open := s.open
	c.mu.Unlock()
	if open {
		c.release(s, typeMessage, m.cost)
	} else {
		c.release(nil, typeMessage, m.cost)
	}
	return m, nil
}

// done acknowledges a message. A text that is not empty is an error.
func (s *stream) done(m message, text string) {
	code := 0
	if text != "" {
		code = 1
	}
	if m.cnss == 2 {
		s.c.frame(typeAck, 0, s.id, u64(m.number), u32(code), []byte(text))
	}
}

// Read reads raw bytes.
func (s *stream) Read(p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	for len(s.raw) == 0 && !s.fin && s.err == nil {
		c.changed.Wait()
	}
	if len(s.raw) == 0 {
		defer c.mu.Unlock()
		if s.fin || s.err == errOver {
			return 0, io.EOF
		}
		return 0, s.err
	}
	n := copy(p, s.raw)
	s.raw = s.raw[n:]
	s.read += n
	due := 0
	if 2*s.read >= c.own.Raw && !s.fin {
		due, s.read = s.read, 0
	}
	c.mu.Unlock()
	c.give(s.id, classRaw, due)
	return n, nil
}

// Write writes raw bytes.
func (s *stream) Write(p []byte) (n int, err error) {
	c := s.c
	for n < len(p) {
		c.mu.Lock()
		for s.credit[classRaw] == 0 && s.open && !s.stopped {
			c.changed.Wait()
		}
		if !s.open || s.stopped {
			c.mu.Unlock()
			return n, io.ErrClosedPipe
		}
		k := min(len(p)-n, s.credit[classRaw], c.server.Frame)
		s.credit[classRaw] -= k
		c.begun++
		c.mu.Unlock()
		c.frame(typeData, 0, s.id, p[n:n+k])
		c.sent()
		n += k
	}
	return n, nil
}

// closeWrite ends the direction of this side.
func (s *stream) closeWrite() { s.c.frame(typeData, flagFin, s.id) }

// Close closes the stream. No other goroutine may be sending on it.
func (s *stream) Close() error {
	c := s.c
	c.mu.Lock()
	first := s.open && !s.closeSent
	s.closeSent = true
	c.endLocked(s, errOver)
	s.raw = nil
	c.mu.Unlock()
	c.changed.Broadcast()
	c.drop(s, true)
	if first {
		c.frame(typeData, flagFin|flagClose, s.id)
	}
	return nil
}

// openStream opens a stream, and returns when the server has answered.
func (c *client) openStream(peer string, meta []byte, md ...entry) (*stream, error) {
	c.mu.Lock()
	if c.away || c.over {
		c.mu.Unlock()
		return nil, errOver
	}
	s := c.newStream(c.next, 0, 0)
	c.next += 2
	c.streams[s.id] = s
	// The frame is written with mu held, so that the open frames keep their order.
	var size []byte // of the metadata
	n := len(peer)
	if len(md) > 0 {
		n, size = n|0x8000, u32(len(list(md).bytes()))
	}
	c.frame(typeOpen, 0, s.id, u32(c.own.Raw), u32(c.own.Messages), []byte{byte(n >> 8), byte(n)}, size, []byte(peer), list(md).bytes(), meta)
	for !s.answered && s.err == nil {
		c.changed.Wait()
	}
	defer c.mu.Unlock()
	if !s.open {
		return nil, s.err
	}
	return s, nil
}

// close ends the connection, and returns when it has ended.
func (c *client) close() error {
	c.frame(typeClose, 0, 0, notice(0, ""))
	c.mu.Lock()
	for !c.over {
		c.changed.Wait()
	}
	defer c.mu.Unlock()
	return c.cause
}
