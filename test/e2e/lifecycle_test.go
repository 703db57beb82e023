package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// recorder is a delegate that records its calls in order.
type recorder struct {
	*delegate.UnimplementedDelegate

	refuseConn, refuseID, refuseDialogue error
	grant                                uint64

	mu       sync.Mutex
	told     []string
	wanted   uint64
	meta     string
	offline  chan struct{} // closed by ConnOffline
	beat     chan struct{} // has room for one
	register chan string
}

func newRecorder() *recorder {
	return &recorder{offline: make(chan struct{}), beat: make(chan struct{}, 1), register: make(chan string, 100)}
}

func (r *recorder) tell(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

func (r *recorder) ConnOnline(c delegate.ConnDescriber) error {
	r.tell("online %d %s %v", c.ClientID(), c.Meta(), c.Side())
	return r.refuseConn
}

func (r *recorder) ConnOffline(c delegate.ConnDescriber) error {
	r.tell("offline %d", c.ClientID())
	close(r.offline)
	return errors.New("changes nothing")
}

func (r *recorder) GetClientID(wanted uint64, meta []byte) (uint64, error) {
	r.mu.Lock()
	r.wanted, r.meta = wanted, string(meta)
	r.mu.Unlock()
	return r.grant, r.refuseID
}

func (r *recorder) DialogueOnline(d delegate.DialogueDescriber) error {
	if r.refuseDialogue == nil {
		r.tell("open %d %s %v", d.DialogueID(), d.Meta(), d.Side())
	}
	return r.refuseDialogue
}

func (r *recorder) DialogueOffline(d delegate.DialogueDescriber) error {
	r.tell("closed %d", d.DialogueID())
	return nil
}

func (r *recorder) RemoteRegistration(method string, clientID, streamID uint64) {
	r.tell("method %s %d", method, streamID)
	r.register <- method
}

func (r *recorder) Heartbeat(delegate.ConnDescriber) error {
	select {
	case r.beat <- struct{}{}:
	default:
	}
	return errors.New("changes nothing")
}

func TestNames(t *testing.T) {
	for _, network := range kit.Networks() {
		t.Run(network, func(t *testing.T) {
			co := client.NewEndOptions()
			co.SetMeta([]byte("client's"))
			p := rig.NewPair(t, network, co, nil)
			require.NotZero(t, p.Client.ClientID())
			require.Equal(t, p.Client.ClientID(), p.Server.ClientID())
			require.EqualValues(t, 1, p.Client.StreamID())
			require.EqualValues(t, 1, p.Server.StreamID())
			require.Equal(t, "client's", string(p.Client.Meta()))
			require.Equal(t, "client's", string(p.Server.Meta()))
			require.Equal(t, geminio.InitiatorSide, p.Client.Side())
			require.Equal(t, geminio.RecipientSide, p.Server.Side())
			require.Equal(t, p.Client.LocalAddr(), p.Client.Addr())
			require.Equal(t, p.ClientConn.LocalAddr(), p.Client.LocalAddr())
			require.Equal(t, p.ServerConn.RemoteAddr(), p.Server.RemoteAddr())

			ids := map[uint64]bool{0: true, 1: true}
			for i := range 10 {
				from, to := p.Client, p.Server
				if i%2 == 1 {
					from, to = to, from
				}
				opt := options.OpenStream()
				opt.SetMeta([]byte("stream's"))
				opt.SetPeer("somebody")
				a, b := rig.OpenStream(t, from, to, nil, opt)
				require.Equal(t, a.StreamID(), b.StreamID())
				require.False(t, ids[a.StreamID()], "the id %d was used before", a.StreamID())
				ids[a.StreamID()] = true
				for _, s := range []geminio.Stream{a, b} {
					require.Equal(t, p.Client.ClientID(), s.ClientID())
					require.Equal(t, "stream's", string(s.Meta()))
					require.Equal(t, "somebody", s.Peer())
				}
				require.Equal(t, geminio.InitiatorSide, a.Side())
				require.Equal(t, geminio.RecipientSide, b.Side())
				require.Len(t, p.Client.ListStreams(), i+2)
				require.Len(t, p.Server.ListStreams(), i+2)
			}
			require.Contains(t, p.Client.ListStreams(), geminio.Stream(p.Client))
		})
	}
}

// TestDelegateOrder records all callbacks of a connection, at both sides.
func TestDelegateOrder(t *testing.T) {
	for _, e := range endings {
		if e.stream {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			cd, sd := newRecorder(), newRecorder()
			co, so := client.NewEndOptions(), server.NewEndOptions()
			co.SetDelegate(cd)
			co.SetMeta([]byte("meta"))
			co.SetClientID(7)
			so.SetDelegate(sd)
			var closedFunc atomic.Int32
			so.SetClosedStreamFunc(func(geminio.Stream) { closedFunc.Add(1) })
			p := rig.NewPair(t, "tcp", co, so)
			require.EqualValues(t, 7, p.Client.ClientID())
			require.EqualValues(t, 7, p.Server.ClientID())
			require.EqualValues(t, 7, sd.wanted)
			require.Equal(t, "meta", sd.meta)

			opt := options.OpenStream()
			opt.SetMeta([]byte("m"))
			a, _ := rig.OpenStream(t, p.Client, p.Server, opt)
			b, _ := rig.OpenStream(t, p.Server, p.Client)
			mustRegister(t, p.Client, "m", rig.Echo)
			mustRegister(t, b, "n", rig.Echo)
			kit.Await(t, kit.Forever, "RemoteRegistration", sd.register)
			kit.Await(t, kit.Forever, "RemoteRegistration", cd.register)
			go e.end(&blockedOps{Pair: p})
			kit.Await(t, promptly, "the client's ConnOffline", cd.offline)
			kit.Await(t, promptly, "the server's ConnOffline", sd.offline)

			check := func(told []string, side, other string, method string) {
				t.Helper()
				require.Equal(t, "online 7 meta "+side, told[0])
				require.Equal(t, "offline 7", told[len(told)-1])
				require.ElementsMatch(t, []string{
					"online 7 meta " + side,
					fmt.Sprintf("open %d m %s", a.StreamID(), side),
					fmt.Sprintf("open %d  %s", b.StreamID(), other),
					method,
					fmt.Sprintf("closed %d", a.StreamID()),
					fmt.Sprintf("closed %d", b.StreamID()),
					"offline 7",
				}, told)
				for _, id := range []uint64{a.StreamID(), b.StreamID()} {
					open := slices.IndexFunc(told, func(s string) bool { return len(s) > 5 && s[:6] == fmt.Sprintf("open %d", id) })
					require.Less(t, open, slices.Index(told, fmt.Sprintf("closed %d", id)))
				}
			}
			check(cd.all(), "initiator", "recipient", fmt.Sprintf("method n %d", b.StreamID()))
			check(sd.all(), "recipient", "initiator", "method m 1")
			require.EqualValues(t, 2, closedFunc.Load())
		})
	}
}

func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sd := newRecorder()
		co, so := client.NewEndOptions(), server.NewEndOptions()
		so.SetDelegate(sd)
		co.SetHeartbeat(time.Second)
		p := rig.NewPair(t, "pipe", co, so)
		for range 3 {
			kit.Await(t, kit.Forever, "a heartbeat", sd.beat)
		}
		mustRegister(t, p.Server, "echo", rig.Echo)
		mustCall(t, p.Client, "echo", "alive")
	})
}

func TestRefusals(t *testing.T) {
	no := errors.New("not you: 世界")
	for _, c := range []struct {
		name   string
		refuse func(*recorder)
		online bool // ConnOnline was called
	}{
		{"by ConnOnline", func(r *recorder) { r.refuseConn = no }, true},
		{"by GetClientID", func(r *recorder) { r.refuseID = no }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			sd := newRecorder()
			c.refuse(sd)
			so := server.NewEndOptions()
			so.SetDelegate(sd)
			l := listen(t, so)
			defer l.Close()
			_, err := dial(l.Addr().String())
			require.EqualError(t, err, no.Error())
			var refused *geminio.RefusedError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, geminio.CodeApplication, refused.Code)
			require.Equal(t, no.Error(), refused.Text)
			if !c.online {
				require.Empty(t, sd.all())
			}
		})
	}
	t.Run("a network error is no refusal", func(t *testing.T) {
		l, err := kit.ListenRaw()
		require.NoError(t, err)
		hungUp := kit.Start(func() error {
			nc, err := l.Accept()
			if err != nil {
				return err
			}
			return nc.Close()
		})
		_, err = dial(l.Addr().String())
		require.Error(t, err)
		var refused *geminio.RefusedError
		require.False(t, errors.As(err, &refused), "%v", err)
		require.NoError(t, <-hungUp)
		l.Close()
		_, err = dial(l.Addr().String())
		require.Error(t, err)
		require.False(t, errors.As(err, &refused), "%v", err)
	})
	t.Run("of a stream", func(t *testing.T) {
		sd := newRecorder()
		sd.refuseDialogue = no
		so := server.NewEndOptions()
		so.SetDelegate(sd)
		p := rig.NewPair(t, "tcp", nil, so)
		_, err := p.Client.OpenStream()
		require.EqualError(t, err, no.Error())
		var refused *geminio.RefusedError
		require.ErrorAs(t, err, &refused)
		require.Len(t, p.Client.ListStreams(), 1)
		require.Len(t, p.Server.ListStreams(), 1)
		mustRegister(t, p.Server, "echo", rig.Echo)
		mustCall(t, p.Client, "echo", "lives on")
	})
	t.Run("by the client's own ConnOnline", func(t *testing.T) {
		cd := newRecorder()
		cd.refuseConn = no
		co := client.NewEndOptions()
		co.SetDelegate(cd)
		l := listen(t)
		defer l.Close()
		_, err := dial(l.Addr().String(), co)
		require.ErrorIs(t, err, no)
		var refused *geminio.RefusedError
		require.False(t, errors.As(err, &refused))
		s, err := l.AcceptEnd()
		require.NoError(t, err)
		_, err = s.AcceptStream()
		require.Equal(t, io.EOF, err)
	})
}

func TestClientID(t *testing.T) {
	for _, c := range []struct {
		name         string
		wish, option uint64
		delegate     *recorder
		want         uint64 // 0: any but 0
	}{
		{"nothing is said", 0, 0, nil, 0},
		{"the wish is granted", 5, 0, nil, 5},
		{"the server's option goes before it", 5, 6, nil, 6},
		{"the delegate's word goes before all", 5, 6, &recorder{grant: 7}, 7},
		{"the delegate says 0", 5, 0, &recorder{}, 5},
		{"the delegate says 0 to nothing", 0, 0, &recorder{}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			co, so := client.NewEndOptions(), server.NewEndOptions()
			if c.wish != 0 {
				co.SetClientID(c.wish)
			}
			if c.option != 0 {
				so.SetClientID(c.option)
			}
			if c.delegate != nil {
				c.delegate.offline = make(chan struct{})
				so.SetDelegate(c.delegate)
			}
			p := rig.NewPair(t, "tcp", co, so)
			require.Equal(t, p.Client.ClientID(), p.Server.ClientID())
			require.NotZero(t, p.Client.ClientID())
			if c.want != 0 {
				require.Equal(t, c.want, p.Client.ClientID())
			}
		})
	}
}

// TestStreamFuncs calls the End from within AcceptStreamFunc and ClosedStreamFunc.
func TestStreamFuncs(t *testing.T) {
	var p *rig.Pair
	made := make(chan struct{})
	closed := make(chan uint64, 10)
	failed := make(chan error, 10)
	so := server.NewEndOptions()
	so.SetAcceptStreamFunc(func(s geminio.Stream) {
		<-made
		err := s.Register(context.Background(), "echo", rig.Echo)
		if err == nil {
			_, err = p.Server.Call(context.Background(), "client's", p.Server.NewRequest(nil))
		}
		if err == nil {
			var back geminio.Stream
			if back, err = p.Server.OpenStream(); err == nil {
				err = back.Close()
			}
		}
		failed <- err
	})
	so.SetClosedStreamFunc(func(s geminio.Stream) {
		if _, err := p.Server.Call(context.Background(), "client's", p.Server.NewRequest(nil)); err != nil && err != io.EOF {
			failed <- err
		}
		closed <- s.StreamID()
	})
	co := client.NewEndOptions()
	co.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "client's", RPC: rig.Echo})
	p = rig.NewPair(t, "tcp", co, so)
	close(made)
	for range 3 {
		s, err := p.Client.OpenStream()
		require.NoError(t, err)
		require.NoError(t, kit.Await(t, kit.Forever, "AcceptStreamFunc", failed))
		mustCall(t, s, "echo", "")
		back, err := p.Client.AcceptStream()
		require.NoError(t, err)
		require.Equal(t, back.StreamID(), kit.Await(t, kit.Forever, "ClosedStreamFunc", closed))
		require.NoError(t, s.Close())
		require.Equal(t, s.StreamID(), kit.Await(t, kit.Forever, "ClosedStreamFunc", closed))
	}
	require.Empty(t, failed)
}

func TestTooManyStreams(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*server.EndOptions)
	}{
		{"backlog", func(o *server.EndOptions) { o.SetAcceptBacklog(5) }},
		{"streams", func(o *server.EndOptions) { o.SetMaxStreams(5) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			so := server.NewEndOptions()
			c.set(so)
			p := rig.NewPair(t, "tcp", nil, so)
			var open []geminio.Stream
			for range 5 {
				s, err := p.Client.OpenStream()
				require.NoError(t, err)
				open = append(open, s)
			}
			_, err := p.Client.OpenStream()
			var refused *geminio.RefusedError
			require.ErrorAs(t, err, &refused)
			require.ErrorIs(t, err, geminio.ErrTooMany)
			require.Equal(t, geminio.CodeLimit, refused.Code)

			// Accepting or closing a stream makes room.
			accepted, err := p.Server.AcceptStream()
			require.NoError(t, err)
			require.Equal(t, open[0].StreamID(), accepted.StreamID())
			if c.name == "streams" {
				require.NoError(t, open[0].Close())
				_, err = accepted.Read(make([]byte, 1))
				require.Equal(t, io.EOF, err)
				// The place is free when the acceptor has processed the close.
				kit.Within(t, promptly, "the acceptance of a stream", func() {
					for errors.As(err, &refused) || err == io.EOF {
						_, err = p.Client.OpenStream()
					}
				})
			} else {
				_, err = p.Client.OpenStream()
			}
			require.NoError(t, err)
		})
	}
}

// waitingDelegate is a delegate whose DialogueOnline waits for open.
type waitingDelegate struct {
	*delegate.UnimplementedDelegate
	asked, open chan struct{}
	offline     chan struct{}
}

func (d *waitingDelegate) DialogueOnline(delegate.DialogueDescriber) error {
	d.asked <- struct{}{}
	<-d.open
	return nil
}

func (d *waitingDelegate) DialogueOffline(delegate.DialogueDescriber) error {
	d.offline <- struct{}{}
	return nil
}

// OpenStream gives up after its timeout. A later decision of the peer about the stream has no
// effect.
func TestOpenStreamTimeout(t *testing.T) {
	for _, network := range kit.Networks() {
		t.Run(network, func(t *testing.T) {
			door := &waitingDelegate{asked: make(chan struct{}, 1), open: make(chan struct{}, 1), offline: make(chan struct{}, 1)}
			so := server.NewEndOptions()
			so.SetDelegate(door)
			p := rig.NewPair(t, network, nil, so)
			opt := options.OpenStream()
			opt.SetTimeout(20 * time.Millisecond)
			_, err := p.Client.OpenStream(opt)
			assert.Equal(t, context.DeadlineExceeded, err)
			kit.Await(t, kit.Forever, "ask", door.asked)
			assert.Len(t, p.Client.ListStreams(), 1)
			door.open <- struct{}{}
			kit.Await(t, kit.Forever, "DialogueOffline at the acceptor", door.offline)

			door.open <- struct{}{}
			opt.SetTimeout(time.Hour)
			s, err := p.Client.OpenStream(opt)
			require.NoError(t, err)
			kit.Await(t, kit.Forever, "ask", door.asked)
			require.NoError(t, s.Close())
			kit.Await(t, kit.Forever, "close", door.offline)
		})
	}
}

// The accessors of a stream may be called while other streams are opened.
func TestSideWhileStreamsAreOpened(t *testing.T) {
	p := rig.NewPair(t, "tcp", nil, nil)
	s, other := rig.OpenStream(t, p.Client, p.Server)
	opened := kit.Start(func() error {
		for range 20 {
			if _, _, err := rig.StreamPair(p.Client, p.Server); err != nil {
				return err
			}
		}
		return nil
	})
	for asking := true; asking; {
		require.Equal(t, geminio.InitiatorSide, s.Side())
		require.Equal(t, geminio.RecipientSide, other.Side())
		select {
		case err := <-opened:
			require.NoError(t, err)
			asking = false
		default:
		}
	}
}
