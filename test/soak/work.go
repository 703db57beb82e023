package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/rig"
)

// work is a server with busy clients. Its counters may be read at any time.
//
// The sessions of the clients are resumed after cuts, so none of their operations fails. Only
// old clients, which speak wire 1, notice cuts.
type work struct {
	l    server.Listener
	ends []*client.RetryEnd
	wg   sync.WaitGroup
	stop chan struct{}
	sums *rig.Tally // of the events of all Ends

	mu    sync.Mutex
	conns map[net.Conn]struct{}

	calls, messages, streams, bytes, cuts atomic.Int64
	visits                                atomic.Int64 // clients that came and left

	// The work of the old clients, which the counters above contain as well.
	oldCalls, oldMessages, oldStreams atomic.Int64
	oldBack                           atomic.Int64 // successful operations of the server with them
	oldLinks                          atomic.Int64 // their connections

	wrong atomic.Pointer[error]
}

// The meta of clients. It is empty for those that come and go.
const (
	resuming = "resuming" // the sessions of these clients are resumed
	old      = "old"      // these clients speak wire 1
)

// newWork makes a work with clients of this library and old clients, which speak wire 1. The
// server keeps sessions for the time keep.
func newWork(clients, olds int, keep time.Duration) (*work, error) {
	w := &work{stop: make(chan struct{}), conns: make(map[net.Conn]struct{}), sums: rig.NewSums()}
	var err error
	opt := server.NewEndOptions()
	opt.SetResumeKeep(keep)
	opt.SetStats(w.sums.Stats())
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: echo})
	if w.l, err = server.Listen("tcp", "127.0.0.1:0", opt); err != nil {
		return nil, err
	}
	w.wg.Go(w.serve)
	for range clients {
		r, err := w.connect(w.dial, resuming)
		if err != nil {
			return nil, err
		}
		w.ends = append(w.ends, r)
		w.answer(r)
		for _, do := range []func(*client.RetryEnd) error{w.call, w.call, w.publish, w.publishAsync, w.stream, w.stream, w.slow} {
			w.wg.Go(func() { w.repeat(r, do) })
		}
	}
	for range olds {
		w.wg.Go(w.workOld)
	}
	w.wg.Go(w.cut)
	w.wg.Go(w.visit)
	return w, nil
}

// connect makes a client.
func (w *work) connect(dialer client.Dialer, meta string) (*client.RetryEnd, error) {
	opt := client.NewEndOptions()
	opt.SetMeta([]byte(meta))
	opt.SetStats(w.sums.Stats())
	opt.SetRetryBackoff(time.Millisecond, 50*time.Millisecond)
	if meta != resuming {
		opt.SetLinger(100 * time.Millisecond) // it may not be able to deliver its last bytes
	}
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "echo", RPC: echo})
	end, err := client.NewRetryEndWithDialer(dialer, opt)
	if err != nil {
		return nil, err
	}
	return end.(*client.RetryEnd), nil
}

// visit makes clients that make a call and leave: one half closes, the other half loses its
// connection for good, so that the server keeps the session until its time is over.
func (w *work) visit() {
	for n := 0; ; n++ {
		select {
		case <-w.stop:
			return
		case <-time.After(rand.N(200 * time.Millisecond)):
		}
		var first net.Conn
		dialer := func() (nc net.Conn, err error) {
			if first != nil && n%2 == 1 {
				return nil, errors.New("there is no way back")
			}
			first, err = w.dial()
			return first, err
		}
		r, err := w.connect(dialer, "")
		if err != nil {
			continue // the connection was cut during the handshake
		}
		opt := options.Call()
		opt.SetTimeout(time.Second)
		r.Call(context.Background(), "echo", r.NewRequest(payload()), opt)
		if n%2 == 1 {
			first.Close()
			for r.Stats().Connected {
				time.Sleep(time.Millisecond)
			}
		}
		r.Close()
		w.visits.Add(1)
	}
}

// dial is a client.Dialer. cut breaks its connections.
func (w *work) dial() (net.Conn, error) {
	nc, err := net.Dial("tcp", w.l.Addr().String())
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[nc] = struct{}{}
	return &noted{nc, w}, nil
}

// noted is a connection that is registered with work as long as it is open.
type noted struct {
	net.Conn
	w *work
}

func (c *noted) Close() error {
	c.w.mu.Lock()
	delete(c.w.conns, c.Conn)
	c.w.mu.Unlock()
	return c.Conn.Close()
}

// cut breaks a connection now and then, with a reset or without.
func (w *work) cut() {
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(rand.N(400 * time.Millisecond)):
		}
		w.mu.Lock()
		for nc := range w.conns {
			if rand.IntN(2) == 0 {
				nc.(*net.TCPConn).SetLinger(0)
			}
			nc.Close()
			w.cuts.Add(1)
			break
		}
		w.mu.Unlock()
	}
}

// serve serves all clients.
func (w *work) serve() {
	for {
		end, err := w.l.AcceptEnd()
		if err != nil {
			return
		}
		w.answer(end)
		for _, do := range []func(geminio.End) error{w.callBack, w.publishBack, w.streamBack} {
			w.wg.Go(func() { w.repeatBack(end, do) })
		}
	}
}

// answer receives the messages of an End and returns the bytes of its accepted streams.
func (w *work) answer(end geminio.End) {
	w.wg.Go(func() {
		for {
			m, err := end.Receive(context.Background())
			if err != nil {
				return
			}
			m.Done()
		}
	})
	w.wg.Go(func() {
		for {
			s, err := end.AcceptStream()
			if err != nil {
				return
			}
			w.wg.Go(func() {
				io.Copy(s, s)
				s.Close()
			})
		}
	})
}

// repeatBack repeats an operation of the server until the End ends or the work does. Only the
// sessions of resuming clients survive a cut.
func (w *work) repeatBack(end geminio.End, do func(geminio.End) error) {
	meta := string(end.Meta())
	for {
		err := do(end)
		switch {
		case err != nil && (meta == resuming || !ended(err)):
			w.fail(fmt.Errorf("the server, of a client %q: %w", meta, err))
		case err != nil && geminio.Cause(end) != nil:
			return
		case err == nil && meta == old:
			w.oldBack.Add(1)
		}
		select {
		case <-w.stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ended reports whether an error is that of an operation whose connection has ended. A client of
// wire 1 that leaves dismisses its streams, so that they end within their data.
func ended(err error) bool {
	for _, end := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, geminio.ErrConnectionLost, geminio.ErrMaybeExecuted,
		geminio.ErrNotExecuted, geminio.ErrGoingAway,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

func (w *work) callBack(end geminio.End) error {
	data := payload()
	resp, err := end.Call(context.Background(), "echo", end.NewRequest(data))
	if err == nil && !bytes.Equal(resp.Data(), data) {
		err = fmt.Errorf("a call of %d bytes was answered with %d others", len(data), len(resp.Data()))
	}
	return err
}

func (w *work) publishBack(end geminio.End) error {
	return end.Publish(context.Background(), end.NewMessage(payload()))
}

// streamBack opens a stream, writes to it, and reads as many bytes. It does not half-close the
// stream, because wire 1 cannot.
func (w *work) streamBack(end geminio.End) error {
	s, err := end.OpenStream()
	if err != nil {
		return err
	}
	defer s.Close()
	data := payload()
	if _, err := s.Write(data); err != nil {
		return err
	}
	back := make([]byte, len(data))
	if _, err := io.ReadFull(s, back); err != nil {
		return err
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("other %d bytes came back", len(back))
	}
	return nil
}

func echo(_ context.Context, req geminio.Request, resp geminio.Response) { resp.SetData(req.Data()) }

// fail records the first unexpected error before the end.
func (w *work) fail(err error) {
	select {
	case <-w.stop: // an operation under way may fail at the end
	default:
		w.wrong.CompareAndSwap(nil, &err)
	}
}

// repeat repeats an operation until the end.
func (w *work) repeat(end *client.RetryEnd, do func(*client.RetryEnd) error) {
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		if err := do(end); err != nil {
			w.fail(err)
		}
	}
}

// payload returns data of a random size, mostly a small one.
func payload() []byte {
	n := rand.IntN(300)
	if rand.IntN(50) == 0 {
		n = rand.IntN(100_000)
	}
	return bytes.Repeat([]byte{byte(n)}, n)
}

func (w *work) call(end *client.RetryEnd) error {
	data := payload()
	resp, err := end.Call(context.Background(), "echo", end.NewRequest(data))
	if err == nil && !bytes.Equal(resp.Data(), data) {
		err = fmt.Errorf("a call of %d bytes was answered with %d others", len(data), len(resp.Data()))
	}
	w.calls.Add(1)
	return err
}

func (w *work) publish(end *client.RetryEnd) error {
	w.messages.Add(1)
	return end.Publish(context.Background(), end.NewMessage(payload()))
}

func (w *work) publishAsync(end *client.RetryEnd) error {
	const batch = 64
	done := make(chan *geminio.Publish, batch)
	n := 0
	for range batch {
		if _, err := end.PublishAsync(context.Background(), end.NewMessage(payload()), done); err != nil {
			break
		}
		n++
	}
	var first error
	for range n {
		if p := <-done; p.Error != nil && first == nil {
			first = p.Error
		}
	}
	w.messages.Add(int64(n))
	return first
}

// stream moves bytes in both directions.
func (w *work) stream(end *client.RetryEnd) error { return w.exchange(end, 0) }

// slow does the same with a slow reader.
func (w *work) slow(end *client.RetryEnd) error { return w.exchange(end, time.Millisecond) }

func (w *work) exchange(end *client.RetryEnd, pause time.Duration) error {
	s, err := end.OpenStream()
	if err != nil {
		return err
	}
	defer s.Close()
	w.streams.Add(1)
	data := bytes.Repeat(payload(), 1+rand.IntN(10))
	wrote := make(chan error, 1)
	go func() {
		_, err := s.Write(data)
		if err == nil {
			err = geminio.CloseWrite(s)
		}
		wrote <- err
	}()
	buf, n := make([]byte, 4096), 0
	for err == nil {
		var k int
		k, err = s.Read(buf)
		if !bytes.Equal(buf[:k], data[n:min(n+k, len(data))]) {
			err = fmt.Errorf("other bytes came back at %d", n)
		}
		n += k
		time.Sleep(pause)
	}
	w.bytes.Add(int64(n))
	s.Close()
	werr := <-wrote
	if err == io.EOF && werr == nil && n != len(data) {
		return fmt.Errorf("%d of %d bytes came back, and no error", n, len(data))
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// close ends all work, and returns the collected errors.
func (w *work) close() error {
	close(w.stop)
	for _, end := range w.ends {
		end.Close()
	}
	geminio.Shutdown(context.Background(), w.l)
	w.wg.Wait()
	if err := w.wrong.Load(); err != nil {
		return *err
	}
	if s := w.l.(server.ResumeStatser).ResumeStats(); s.Interrupted != 0 || s.HeldBytes != 0 {
		return fmt.Errorf("sessions are left: %+v", s)
	}
	for _, end := range w.ends {
		if s := end.Stats(); s.Connections != 1 {
			return fmt.Errorf("a session was not resumed: %+v", s)
		}
	}
	var err error
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // events may be under way
		if err = w.sums.Over(); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// resumed returns how many sessions were resumed, and how many wait for their client.
func (w *work) resumed() (resumes int64, waiting int) {
	s := w.l.(server.ResumeStatser).ResumeStats()
	return int64(s.Resumes), s.Interrupted
}
