package fault

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/rig"
)

// FuzzPair takes a string of bytes for a program of operations on a live pair of Ends
// over a transport with little room, and runs it in a bubble. Each operation has a
// deadline of its own and may fail; but bytes of a stream arrive in order and unchanged,
// a message is handed out once at most, a call has its own answer, nothing panics, and
// when both Ends are closed no goroutine is left, or the bubble would not end.
func FuzzPair(f *testing.F) {
	for _, seed := range [][]byte{
		{},
		[]byte("\x00\x00\x02\x50\x13\x40\x02\x90\x13\x90\x04\x00\x05\x01\x06\x00"),
		[]byte("\x00\x00\x10\x00\x02\xff\x12\xff\x13\xff\x03\xff\x04\x00\x14\x00\x08\x00"),
		[]byte("\x07\xff\x17\xff\x08\xff\x18\xff\x09\xff\x19\xff\x0a\x08\x1a\x08"),
		[]byte("\x00\x00\x02\x20\x0b\x00\x13\x20\x0c\x00\x00\x00\x02\x20"),
		[]byte("\x08\x10\x0d\x00\x18\x10\x08\xff\x0e\x00"),
		[]byte("\x00\x00\x00\x00\x10\x00\x12\xf0\x02\xf1\x05\x01\x15\x00\x06\x00\x16\x00"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 400 {
			program = program[:400]
		}
		synctest.Test(t, func(t *testing.T) { newMachine(t).run(program) })
	})
}

// machine runs a program.
type machine struct {
	t    *testing.T
	link *rig.Pair
	near *wire
	wg   sync.WaitGroup

	mu       sync.Mutex
	streams  [2][]*tracked // by the side
	byID     map[uint64]*track
	received map[string]bool
	sent     int
}

// track is what both sides of a stream have in common: how far each direction is.
type track struct {
	writing [2]chan struct{} // locks, with which a bubble can wait: one writer of a side,
	reading [2]chan struct{} // and one reader of what it writes
	written [2]int
	read    [2]int // by the side that has written
}

func newTrack() *track {
	tr := &track{}
	for side := range 2 {
		tr.writing[side], tr.reading[side] = make(chan struct{}, 1), make(chan struct{}, 1)
	}
	return tr
}

// locked takes a lock, and returns what gives it back.
func locked(lock chan struct{}) (unlock func()) {
	lock <- struct{}{}
	return func() { <-lock }
}

// tracked is a stream of one side.
type tracked struct {
	geminio.Stream
	*track
	side int
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, byID: make(map[uint64]*track), received: make(map[string]bool)}
	near, far := newWire(1000)
	m.near = near
	co, so := client.NewEndOptions(), server.NewEndOptions()
	co.SetMaxStreams(8)
	so.SetMaxStreams(8)
	co.SetMaxHandlers(4)
	so.SetMaxHandlers(4)
	co.SetMaxMessageSize(20_000)
	so.SetMaxMessageSize(20_000)
	co.SetMemoryBudget(2 << 20)
	so.SetMemoryBudget(2 << 20)
	p, err := rig.JoinPair(near, far, co, so)
	if err != nil {
		t.Fatal(err)
	}
	m.link = p
	for side, end := range m.ends() {
		register(t, end, "echo", rig.Echo)
		register(t, end, "slow", func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
			resp.SetData(req.Data())
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

func (m *machine) ends() [2]geminio.End { return [2]geminio.End{m.link.Client, m.link.Server} }

// add makes a stream known.
func (m *machine) add(side int, s geminio.Stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tr := m.byID[s.StreamID()]
	if tr == nil {
		tr = newTrack()
		m.byID[s.StreamID()] = tr
	}
	m.streams[side] = append(m.streams[side], &tracked{s, tr, side})
}

// stream returns one of a side's.
func (m *machine) stream(side, n int) *tracked {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.streams[side][n%len(m.streams[side])]
}

// content is what stands at an offset of what a side writes on a stream.
func content(id uint64, side, off int) byte { return byte(off*31 + off>>8*7 + int(id)*3 + side) }

func (m *machine) run(program []byte) {
	for ; len(program) >= 2; program = program[2:] {
		side, op, arg := int(program[0]>>4)&1, int(program[0])&15, int(program[1])
		m.wg.Go(func() { m.do(side, op, arg) })
		if op != 15 {
			synctest.Wait()
		}
	}
	time.Sleep(time.Second)
	m.link.Close()
	m.wg.Wait()
}

// do runs one operation.
func (m *machine) do(side, op, arg int) {
	end := m.ends()[side]
	s := m.stream(side, arg)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+arg)*10*time.Millisecond)
	defer cancel()
	switch op {
	case 0, 1:
		opt := options.OpenStream()
		opt.SetTimeout(time.Second)
		if s, err := end.OpenStream(opt); err == nil {
			m.add(side, s)
		}
	case 2:
		m.write(s, arg*arg)
	case 3:
		m.read(s, 1+arg*64)
	case 4:
		geminio.CloseWrite(s.Stream)
	case 5:
		geminio.CloseRead(s.Stream)
	case 6:
		if s.StreamID() != 1 {
			s.Close()
		}
	case 7, 8:
		m.call(ctx, s, []string{"echo", "slow"}[op-7], arg*100)
	case 9, 10:
		m.publish(ctx, s, arg*80, op == 10)
	case 11, 12:
		m.receive(ctx, s, arg%3)
	case 13:
		if arg > 200 {
			m.near.close() // the transport breaks
		}
	case 14:
		if arg > 200 {
			end.Close()
		}
	case 15:
		time.Sleep(time.Duration(arg) * time.Millisecond)
	}
}

func (m *machine) write(s *tracked, n int) {
	defer locked(s.writing[s.side])()
	p := make([]byte, n)
	for i := range p {
		p[i] = content(s.StreamID(), s.side, s.written[s.side]+i)
	}
	s.SetWriteDeadline(time.Now().Add(time.Second))
	n, _ = s.Write(p)
	s.written[s.side] += n
}

func (m *machine) read(s *tracked, n int) {
	from := 1 - s.side
	defer locked(s.reading[from])()
	p := make([]byte, n)
	s.SetReadDeadline(time.Now().Add(time.Second))
	n, err := s.Read(p)
	for i, b := range p[:n] {
		if want := content(s.StreamID(), from, s.read[from]+i); b != want {
			m.t.Errorf("stream %d: byte %d is %d, not %d", s.StreamID(), s.read[from]+i, b, want)
			return
		}
	}
	s.read[from] += n
	if err == nil && n == 0 {
		m.t.Error("Read returned nothing, and no error")
	}
}

func (m *machine) call(ctx context.Context, s *tracked, method string, n int) {
	data := rig.BytesOf(n, uint64(n))
	resp, err := s.Call(ctx, method, s.NewRequest(data))
	if err == nil && string(resp.Data()) != string(data) {
		m.t.Errorf("a call of %d bytes was answered with %d others", n, len(resp.Data()))
	}
}

func (m *machine) publish(ctx context.Context, s *tracked, n int, once bool) {
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

func (m *machine) receive(ctx context.Context, s *tracked, answer int) {
	msg, err := s.Receive(ctx)
	if err != nil {
		return
	}
	m.mu.Lock()
	twice := m.received[msg.Topic()]
	m.received[msg.Topic()] = true
	m.mu.Unlock()
	if twice {
		m.t.Errorf("message %s was handed out twice", msg.Topic())
	}
	switch answer {
	case 0:
		msg.Done()
	case 1:
		msg.Error(io.ErrNoProgress)
	}
}
