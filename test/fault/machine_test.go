package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// machineProfile has the limits and the transport of the Ends of a machine.
type machineProfile struct {
	name     string
	message  int           // bytes of the largest message, request and response
	budget   int           // bytes of the memory budget, a quarter of which is for large messages
	handlers int           // the most handlers that run at one time
	room     int           // bytes that the transport holds in each direction
	perByte  time.Duration // the time that the transport takes for a byte
	hurry    time.Duration // the divisor of the timeouts of all operations
	resumes  bool          // the session continues when the transport breaks
}

// profiles have one small limit each, so that events that are rare elsewhere are frequent.
var profiles = []machineProfile{
	{"fast", 20_000, 2 << 20, 4, 1000, 0, 1, false},
	{"small windows", 36_000, 4 * 9 * 4096, 2, 500, time.Microsecond, 1, false},
	{"large messages", 1 << 20, 4 * (1<<20 + packet.MinLarge), 4, 16 << 10, 100 * time.Nanosecond, 1, false},
	{"slow", 100_000, 4 * (100_000 + packet.MinLarge), 3, 2000, 10 * time.Microsecond, 1, false},
}

// machine runs programs of operations on a pair of Ends. Each operation has a deadline of its
// own and may fail. The bytes of a stream arrive in order and unchanged, a message is handed
// out at most once, and a call gets its own response. When no operation is in flight, no credit
// is lost. If the session is resumed, all that holds across the loss of any transport.
type machine struct {
	t     testing.TB
	p     machineProfile
	link  *rig.Pair
	tally *rig.Tally
	ops   sync.WaitGroup // operations
	wg    sync.WaitGroup // goroutines that run until the Ends are closed

	running atomic.Int64 // handlers

	mu       sync.Mutex
	streams  [2][]*modelledStream // by the side
	byID     map[uint64]*streamModel
	received map[string]bool
	pending  []geminio.Message // received and not yet answered
	sent     int
	ended    bool   // an End was closed, or the transport broke and the session ended with it
	breaks   func() // breaks the present transport
}

// streamModel has the positions in both directions of a stream, which its two sides share.
type streamModel struct {
	writing [2]chan struct{} // a lock for the writer of each side; a bubble can wait for a channel
	reading [2]chan struct{} // a lock for the reader of the bytes that a side writes
	written [2]int
	read    [2]int // by the side that has written the bytes
}

func newStreamModel() *streamModel {
	tr := &streamModel{}
	for side := range 2 {
		tr.writing[side], tr.reading[side] = make(chan struct{}, 1), make(chan struct{}, 1)
	}
	return tr
}

// locked takes a lock, and returns the function that releases it.
func locked(lock chan struct{}) (unlock func()) {
	lock <- struct{}{}
	return func() { <-lock }
}

// modelledStream is one side of a stream.
type modelledStream struct {
	geminio.Stream
	*streamModel
	side int
}

// newMachine returns a machine over a connection in memory.
func newMachine(t testing.TB, p machineProfile) *machine {
	return startMachine(t, p, func() (net.Conn, net.Conn, func(), error) {
		near, far := newBufferedPair(p.room)
		near.perByte, far.perByte = p.perByte, p.perByte
		return near, far, near.close, nil
	})
}

// startMachine returns a machine over transports that dial makes. dial also returns a function
// that breaks the transport.
func startMachine(t testing.TB, p machineProfile, dial func() (near, far net.Conn, breaks func(), err error)) *machine {
	m := &machine{t: t, p: p, byID: make(map[uint64]*streamModel), received: make(map[string]bool)}
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetMaxStreams(8)
	so.SetMaxStreams(8)
	co.SetMaxHandlers(p.handlers)
	so.SetMaxHandlers(p.handlers)
	co.SetMaxMessageSize(p.message)
	so.SetMaxMessageSize(p.message)
	co.SetMemoryBudget(p.budget)
	so.SetMemoryBudget(p.budget)
	m.tally = rig.NewTally()
	co, so = m.tally.Add(co, so)
	connect := func() (near, far net.Conn, err error) {
		near, far, breaks, err := dial()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.breaks = breaks
		return near, far, err
	}
	var err error
	if p.resumes {
		co.SetRetryBackoff(time.Millisecond, 10*time.Millisecond)
		co.SetResumeBuffer(conn.MinLog)
		so.SetResumeBuffer(conn.MinLog)
		m.link, err = rig.JoinSession(connect, co, so)
	} else {
		near, far, cerr := connect()
		if cerr != nil {
			t.Fatal(cerr)
		}
		m.link, err = rig.JoinPair(near, far, co, so)
	}
	if err != nil {
		t.Fatal(err)
	}
	for side, end := range m.ends() {
		m.register(end, "echo", func(_ context.Context, req geminio.Request, resp geminio.Response) {
			resp.SetData(req.Data())
		})
		m.register(end, "big", func(_ context.Context, req geminio.Request, resp geminio.Response) {
			resp.SetData(make([]byte, p.message))
		})
		m.register(end, "slow", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond / p.hurry):
			}
			resp.SetData(req.Data())
		})
		m.register(end, "hang", func(ctx context.Context, _ geminio.Request, resp geminio.Response) {
			<-ctx.Done()
			resp.SetError(ctx.Err())
		})
		m.add(side, end)
		m.wg.Go(func() {
			for {
				s, err := end.AcceptStream()
				if err != nil {
					return
				}
				m.add(side, s)
			}
		})
	}
	return m
}

// register registers a method, and counts its handlers.
func (m *machine) register(end geminio.RPCer, method string, rpc geminio.RPC) {
	err := end.Register(context.Background(), method, func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		m.running.Add(1)
		defer m.running.Add(-1)
		rpc(ctx, req, resp)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) ends() [2]geminio.End { return [2]geminio.End{m.link.Client, m.link.Server} }

// add adds a stream to those on which the program works.
func (m *machine) add(side int, s geminio.Stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tr := m.byID[s.StreamID()]
	if tr == nil {
		tr = newStreamModel()
		m.byID[s.StreamID()] = tr
	}
	m.streams[side] = append(m.streams[side], &modelledStream{s, tr, side})
}

// stream returns a stream of a side, more often one of the last ones.
func (m *machine) stream(side, n int) *modelledStream {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.streams[side]
	if n%3 > 0 {
		all = all[max(0, len(all)-8):]
	}
	return all[n%len(all)]
}

// content returns the byte at an offset of the bytes that a side writes on a stream.
func content(id uint64, side, off int) byte { return byte(off*31 + off>>8*7 + int(id)*3 + side) }

// run runs a program, which has two bytes for each operation. Between the operations it waits
// until all goroutines are blocked.
func (m *machine) run(program []byte, wait func()) {
	for ; len(program) >= 2; program = program[2:] {
		op, arg := program[0], int(program[1])
		m.ops.Go(func() { m.do(op, arg) })
		if op&15 != 15 {
			wait()
		}
	}
}

// finish waits until no operation is in flight, checks that no credit is lost, and closes the
// Ends. It calls rest while it waits.
func (m *machine) finish(rest func()) {
	m.ops.Wait()
	m.mu.Lock()
	ended := m.ended
	m.mu.Unlock()
	if ended {
		m.link.Close()
	} else {
		m.audit(rest)
		m.largest()
		m.audit(rest)
		if r, ok := m.link.Client.(*client.RetryEnd); ok && r.Stats().Connections != 1 {
			m.t.Errorf("the session was not resumed: %+v", r.Stats())
		}
		m.shutdown()
	}
	m.wg.Wait()
	for end := time.Now().Add(kit.Forever); m.running.Load() > 0; rest() {
		if time.Now().After(end) {
			m.t.Errorf("%d handlers run after the end, want 0", m.running.Load())
			return
		}
	}
}

// drain receives and acknowledges all messages.
func (m *machine) drain() {
	m.mu.Lock()
	streams := slices.Concat(m.streams[:]...)
	m.mu.Unlock()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for _, s := range streams {
		for {
			msg, err := s.Receive(now)
			if err != nil {
				break
			}
			m.take(msg)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range m.pending {
		msg.Done()
	}
	m.pending = nil
}

// audit compares the ledgers of both sides when no operation is in flight. Outside a bubble it
// tries for some time.
func (m *machine) audit(rest func()) {
	for range 60 * (1 - rig.Audits) {
		m.drain()
		rest()
	}
	for end := time.Now().Add(10 * kit.Forever); ; rest() {
		m.drain()
		err := errors.Join(rig.Audit(m.link.Client, m.link.Server), rig.Traffic(m.link.Client, m.link.Server),
			m.tally.Match(m.link.Client), m.tally.Match(m.link.Server))
		if err == nil {
			return
		}
		if time.Now().After(end) {
			m.t.Errorf("credit or counts are lost: %v", err)
			return
		}
	}
}

// largest requires that the largest call, message and registration succeed in both directions.
func (m *machine) largest() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*kit.Forever)
	defer cancel()
	receiving, stop := context.WithCancel(context.Background())
	var senders, receivers sync.WaitGroup
	data := make([]byte, m.p.message-200)
	for side, end := range m.ends() {
		receivers.Go(func() {
			for {
				msg, err := end.Receive(receiving)
				if err != nil {
					return
				}
				msg.Done()
			}
		})
		senders.Go(func() {
			resp, err := end.Call(ctx, "echo", end.NewRequest(data))
			if err == nil && len(resp.Data()) != len(data) {
				err = fmt.Errorf("the response has %d bytes", len(resp.Data()))
			}
			if err != nil {
				m.t.Errorf("the largest call of side %d: %v", side, err)
			}
			if err := end.Publish(ctx, end.NewMessage(data)); err != nil {
				m.t.Errorf("the largest message of side %d: %v", side, err)
			}
			if err := end.Register(ctx, "new", rig.Echo); err != nil {
				m.t.Errorf("a registration of side %d: %v", side, err)
			}
		})
	}
	senders.Wait()
	stop()
	receivers.Wait()
}

// shutdown closes all streams, and shuts both Ends down.
func (m *machine) shutdown() {
	m.mu.Lock()
	streams := slices.Concat(m.streams[:]...)
	m.mu.Unlock()
	for _, s := range streams {
		if s.StreamID() != 1 {
			s.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*kit.Forever)
	defer cancel()
	if err := geminio.Shutdown(ctx, m.link.Client); err != nil {
		m.t.Errorf("Shutdown of an idle End: %v", err)
	}
	m.link.Close()
}

// The higher bits of an operation.
const (
	onServer  = 0x10 << iota // the server does the operation, not the client
	hasty                    // the operation is given up very soon
	large                    // the size is up to the largest one
	otherwise                // another variant of the operation
)

// do runs one operation.
func (m *machine) do(op byte, arg int) {
	side := int(op&onServer) >> 4
	end := m.ends()[side]
	s := m.stream(side, arg)
	patience := time.Duration(1+arg) * 10 * time.Millisecond
	if op&hasty != 0 {
		patience = time.Duration(arg*arg) * time.Microsecond // up to 65 ms
	}
	patience /= m.p.hurry
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	size := func(unit int) int {
		if op&large != 0 {
			return (m.p.message - 200) * arg / 255
		}
		return min(arg*unit, m.p.message-200)
	}
	switch op & 15 {
	case 0, 1:
		opt := options.OpenStream()
		opt.SetTimeout(max(patience, 1))
		if s, err := end.OpenStream(opt); err == nil {
			m.add(side, s)
		}
	case 2:
		m.write(s, size(arg), patience)
	case 3:
		m.read(s, 1+arg*64, time.Second/m.p.hurry)
	case 4:
		geminio.CloseWrite(s.Stream)
	case 5:
		geminio.CloseRead(s.Stream)
	case 6:
		switch {
		case s.StreamID() == 1:
		case op&otherwise != 0:
			geminio.Reset(s.Stream, geminio.Code(1000+arg), "at random")
		default:
			s.Close()
		}
	case 7:
		m.call(ctx, s, "echo", size(100), op&otherwise != 0)
	case 8:
		m.call(ctx, s, []string{"slow", "hang", "big"}[arg%3], size(100), op&otherwise != 0)
	case 9, 10:
		m.publish(ctx, s, size(80), op&15 == 10)
	case 11, 12:
		if op&otherwise != 0 {
			s.Register(ctx, fmt.Sprint("method", arg%5), rig.Echo)
		} else {
			m.receive(ctx, s, arg%3)
		}
	case 13:
		if arg > 200 || m.p.resumes {
			m.cut()
		}
	case 14:
		if arg > 200 {
			m.end()
			end.Close()
		}
	case 15:
		time.Sleep(time.Duration(arg) * time.Millisecond / m.p.hurry)
	}
}

// cut breaks the transport.
func (m *machine) cut() {
	m.mu.Lock()
	m.ended = m.ended || !m.p.resumes
	breaks := m.breaks
	m.mu.Unlock()
	breaks()
}

// end records that an End was closed.
func (m *machine) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
}

func (m *machine) write(s *modelledStream, n int, patience time.Duration) {
	defer locked(s.writing[s.side])()
	p := make([]byte, n)
	for i := range p {
		p[i] = content(s.StreamID(), s.side, s.written[s.side]+i)
	}
	s.SetWriteDeadline(time.Now().Add(patience))
	n, _ = s.Write(p)
	s.written[s.side] += n
}

func (m *machine) read(s *modelledStream, n int, patience time.Duration) {
	from := 1 - s.side
	defer locked(s.reading[from])()
	p := make([]byte, n)
	s.SetReadDeadline(time.Now().Add(patience))
	n, err := s.Read(p)
	for i, b := range p[:n] {
		if want := content(s.StreamID(), from, s.read[from]+i); b != want {
			m.t.Errorf("stream %d: byte %d = %d, want %d", s.StreamID(), s.read[from]+i, b, want)
			return
		}
	}
	s.read[from] += n
	if err == nil && n == 0 {
		m.t.Error("Read = 0, nil")
	}
}

func (m *machine) call(ctx context.Context, s *modelledStream, method string, n int, async bool) {
	data := kit.BytesOf(n, uint64(n))
	check := func(resp geminio.Response, err error) {
		switch {
		case err != nil:
		case method == "big" && len(resp.Data()) != m.p.message:
			m.t.Errorf("the large response has %d bytes", len(resp.Data()))
		case method != "big" && string(resp.Data()) != string(data):
			m.t.Errorf("the response to %d bytes has %d bytes, or bytes that differ", n, len(resp.Data()))
		}
	}
	if !async {
		check(s.Call(ctx, method, s.NewRequest(data)))
		return
	}
	call, err := s.CallAsync(ctx, method, s.NewRequest(data), nil)
	if err == nil {
		<-call.Done
		check(call.Response, call.Error)
	}
}

func (m *machine) publish(ctx context.Context, s *modelledStream, n int, once bool) {
	m.mu.Lock()
	m.sent++
	name := fmt.Sprintf("%d/%d/", s.side, m.sent)
	m.mu.Unlock()
	opt := options.NewMessage()
	opt.SetTopic(name)
	if once {
		opt.SetCnss(options.CnssAtMostOnce)
	}
	s.Publish(ctx, s.NewMessage(make([]byte, n), opt))
}

func (m *machine) receive(ctx context.Context, s *modelledStream, answer int) {
	msg, err := s.Receive(ctx)
	if err != nil {
		return
	}
	m.take(msg)
	switch answer {
	case 0:
		msg.Done()
	case 1:
		msg.Error(io.ErrNoProgress)
	}
}

// take records that a message was received.
func (m *machine) take(msg geminio.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.received[msg.Topic()] {
		m.t.Errorf("message %s was handed out twice", msg.Topic())
	}
	m.received[msg.Topic()] = true
	m.pending = append(m.pending, msg)
}

// runInBubble runs a program in a bubble.
func runInBubble(t *testing.T, p machineProfile, program []byte) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, p)
		m.run(program, synctest.Wait)
		m.finish(func() { time.Sleep(time.Second) })
		time.Sleep(kit.Forever) // for Writes on the slow transport, which was closed
	})
}
