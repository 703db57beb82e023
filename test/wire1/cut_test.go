package wire1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/oldpeer"
)

// cutScript is work of all kinds between an End and a peer of wire 1 whose connection may break
// at any byte.
type cutScript struct {
	t    *testing.T
	end  geminio.End
	peer *oldpeer.Peer
	wg   sync.WaitGroup

	mu     sync.Mutex
	served []string // the operations of the End that the peer has seen
	failed bool     // an operation has failed
	raw    map[uint64][]byte
	moved  *sync.Cond // with mu: signals raw
}

// cutPayload is what streams carry in each direction.
var cutPayload = []byte("thirty bytes of a stream, all.")

func (s *cutScript) saw(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served = append(s.served, what)
}

// connect returns false if the handshake has failed.
func (s *cutScript) connect(near, far net.Conn, asServer bool) bool {
	s.raw, s.moved = make(map[uint64][]byte), sync.NewCond(&s.mu)
	cfg := oldpeer.Config{
		Handle: func(_ context.Context, _ *oldpeer.Session, p wire1.Packet) ([]byte, error) {
			s.saw("Call")
			return p.Value, nil
		},
		Message: func(*oldpeer.Session, wire1.Packet) error { s.saw("Publish"); return nil },
		Raw: func(o *oldpeer.Session, b []byte) {
			if o.Name == "opened by the End" {
				o.Write(b)
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.raw[o.ID] = append(s.raw[o.ID], b...)
			s.moved.Broadcast()
		},
	}
	shake := func() (*oldpeer.Peer, error) { return oldpeer.Accept(far, cfg) }
	if asServer {
		shake = func() (*oldpeer.Peer, error) { return oldpeer.Dial(far, cfg) }
	}
	type result struct {
		p   *oldpeer.Peer
		err error
	}
	peers := kit.Start(func() result { p, err := shake(); return result{p, err} })
	var err error
	if asServer {
		s.end, err = server.NewEndWithConn(near)
	} else {
		s.end, err = client.NewEndWithConn(near)
	}
	if err != nil {
		near.Close()
	}
	if err != nil || s.end == nil {
		far.Close()
	}
	var r result
	select {
	case r = <-peers:
	case <-time.After(time.Hour): // nothing arrives any more
		far.Close()
		r = <-peers
	}
	s.peer = r.p
	if err != nil || r.err != nil {
		if s.end != nil {
			s.end.Close()
		}
		if s.peer != nil {
			s.peer.Cut()
		}
		return false
	}
	return true
}

// own checks the outcome of an operation of the End.
func (s *cutScript) own(name string, err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
	switch {
	case err == io.EOF, errors.Is(err, geminio.ErrNotExecuted):
		assert.NotContains(s.t, s.served, name, "the peer has seen the operation with %v", err)
	case errors.Is(err, geminio.ErrMaybeExecuted):
	case name == "Stream" && (errors.Is(err, geminio.ErrConnectionLost) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)):
	default:
		assert.NoError(s.t, err, name)
	}
}

// theirs notes the outcome of an operation of the peer.
func (s *cutScript) theirs(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = s.failed || err != nil
}

// run does all work, and closes the connection.
func (s *cutScript) run(closedByPeer bool) {
	ctx := context.Background()
	s.own("Register", s.end.Register(ctx, "m", handler))
	s.wg.Go(s.receive)
	s.wg.Go(s.accept)
	var work sync.WaitGroup
	work.Go(func() {
		resp, err := s.end.Call(ctx, "any", s.end.NewRequest([]byte("hi")))
		if s.own("Call", err); err == nil {
			assert.Equal(s.t, "hi", string(resp.Data()))
		}
	})
	work.Go(func() { s.own("Publish", s.end.Publish(ctx, s.end.NewMessage([]byte("message")))) })
	work.Go(func() { s.own("Stream", s.stream()) })
	work.Go(func() {
		data, err := s.peer.Call(ctx, "m", []byte("hi"))
		if s.theirs(err); err == nil {
			assert.Equal(s.t, "new hi ", string(data))
		}
	})
	work.Go(func() { s.theirs(s.peer.Publish(ctx, "t", []byte("message"))) })
	work.Go(func() { s.theirs(s.session()) })
	work.Wait()
	synctest.Wait() // until the End has noticed a cut; streams of an End that was closed return io.EOF
	if closedByPeer {
		s.peer.Shut(ctx)
	}
	s.end.Close()
	s.peer.Cut()
	s.wg.Wait()
	assert.Error(s.t, geminio.Cause(s.end))
}

// stream exchanges bytes on a stream of the End.
func (s *cutScript) stream() error {
	opt := options.OpenStream()
	opt.SetPeer("opened by the End")
	stream, err := s.end.OpenStream(opt)
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err := stream.Write(cutPayload); err != nil {
		return err
	}
	back := make([]byte, len(cutPayload))
	n, err := io.ReadFull(stream, back)
	assert.Equal(s.t, string(cutPayload[:n]), string(back[:n]))
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%v after %d bytes, though the peer has not dismissed the stream", err, n)
	}
	return err
}

// session exchanges bytes on a session of the peer.
func (s *cutScript) session() error {
	o, err := s.peer.Open(context.Background(), "opened by the peer", nil)
	if err != nil {
		return err
	}
	if _, err := o.Write(cutPayload); err != nil {
		return err
	}
	stop := kit.Start(func() error { <-o.Ended(); s.moved.Broadcast(); return nil })
	s.mu.Lock()
	for len(s.raw[o.ID]) < len(cutPayload) && s.peer.Err() == nil {
		s.moved.Wait()
	}
	got := s.raw[o.ID]
	s.mu.Unlock()
	assert.True(s.t, bytes.HasPrefix(cutPayload, got), "%q", got)
	err = o.Dismiss(context.Background())
	<-stop
	return err
}

func (s *cutScript) receive() {
	for {
		m, err := s.end.Receive(context.Background())
		if err != nil {
			assert.Equal(s.t, io.EOF, err)
			return
		}
		m.Done()
	}
}

// accept serves the sessions of the peer. A stream ends with io.EOF only behind its last byte.
func (s *cutScript) accept() {
	for {
		stream, err := s.end.AcceptStream()
		if err != nil {
			assert.Equal(s.t, io.EOF, err)
			return
		}
		s.wg.Go(func() {
			defer stream.Close()
			var got []byte
			buf := make([]byte, 64)
			for {
				n, err := stream.Read(buf)
				got = append(got, buf[:n]...)
				if err == io.EOF {
					assert.Equal(s.t, string(cutPayload), string(got), "the bytes before io.EOF")
				} else if err != nil {
					assert.ErrorIs(s.t, err, geminio.ErrConnectionLost)
				}
				if err != nil {
					return
				}
				stream.Write(buf[:n])
			}
		})
	}
}

// The connection with a peer of wire 1 is cut at a byte of either direction, the handshake
// included. All operations return, none reports success or an end that did not take place, and
// none is reported as not executed that the peer has seen. Each byte is cut in one of the modes;
// with CUTS set, in all of them.
func TestCutAtEveryByte(t *testing.T) {
	modes := []kit.CutMode{kit.CutFIN, kit.CutRST, kit.CutSilence}
	step := len(modes) * kit.Slowdown
	if os.Getenv("CUTS") != "" {
		step = 1
	}
	for _, role := range []string{"client", "server"} {
		var total [2]int
		synctest.Test(t, func(t *testing.T) {
			near, far := kit.NewCutPipe(kit.CutFIN, kit.NoCut, kit.NoCut)
			s := &cutScript{t: t}
			require.True(t, s.connect(near, far, role == "server"))
			s.run(false)
			require.False(t, s.failed, "an operation failed without a cut")
			require.Subset(t, s.served, []string{"Call", "Publish"})
			total = [2]int{near.Sent(), far.Sent()}
		})
		for i, mode := range modes {
			for side := range 2 {
				t.Run(fmt.Sprintf("%s, %v of side %d", role, mode, side), func(t *testing.T) {
					t.Parallel()
					for at := 1 + i%step; at < total[side]; at += step {
						limits := []int{kit.NoCut, kit.NoCut}
						limits[side] = at
						synctest.Test(t, func(t *testing.T) {
							near, far := kit.NewCutPipe(mode, limits[0], limits[1])
							s := &cutScript{t: t}
							if s.connect(near, far, role == "server") {
								s.run(at%2 == 0)
							}
						})
						if t.Failed() {
							t.Fatalf("cut at %d of %d", at, total[side])
						}
					}
				})
			}
		}
	}
}
