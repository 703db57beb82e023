package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
	"github.com/singchia/geminio/test/rig"
)

// sendWork sends frames of each kind from a client, in a bubble.
func sendWork(r *rawClient) {
	r.t.Helper()
	r.send(rawOpen(3), rawOpen(5))
	synctest.Wait() // until the streams are accepted
	for i := range 3 {
		r.send(rawMessage(1, 0, 1, fmt.Sprintf("once %d", i)))
	}
	r.send(
		rawMessage(1, 1, 2, "acked"),
		rawData(1, 0, "raw bytes"),
		rawData(3, 0, "bytes of a stream"),
		rawMessage(3, 0, 1, "message of a stream"),
		rawData(5, packet.FlagFin|packet.FlagClose, "and of one that was closed"),
	)
}

// wantWork requires that an End delivers the frames of sendWork, and then io.EOF. If the client
// has closed with a code, Read returns an error instead.
func wantWork(t *testing.T, end geminio.End, coded bool) {
	t.Helper()
	readAll := func(from io.Reader, coded bool) string {
		all, err := io.ReadAll(from)
		if coded {
			assert.ErrorIs(t, err, geminio.ErrConnectionLost)
		} else {
			assert.NoError(t, err)
		}
		return string(all)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, text := range []string{"once 0", "once 1", "once 2", "acked"} {
		m, err := end.Receive(ctx)
		require.NoError(t, err, text)
		assert.Equal(t, text, string(m.Data()))
	}
	_, err := end.Receive(ctx)
	assert.Equal(t, io.EOF, err, "Receive after the last message")
	assert.Equal(t, "raw bytes", readAll(end, coded))
	for _, text := range []string{"bytes of a stream", "and of one that was closed"} {
		stream, err := end.AcceptStream()
		require.NoError(t, err, text)
		assert.Equal(t, text, readAll(stream, coded && text == "bytes of a stream"))
		if text == "bytes of a stream" {
			m, err := stream.Receive(ctx)
			require.NoError(t, err)
			assert.Equal(t, "message of a stream", string(m.Data()))
		}
		_, err = stream.Receive(ctx)
		assert.Equal(t, io.EOF, err)
	}
	_, err = end.AcceptStream()
	assert.Equal(t, io.EOF, err, "AcceptStream after the last stream")
	_, err = end.Call(ctx, "m", end.NewRequest(nil))
	assert.Equal(t, io.EOF, err)
	assert.NoError(t, end.Close())
}

// onlineLog is a delegate that records ConnOnline and ConnOffline.
type onlineLog struct {
	*delegate.UnimplementedDelegate
	events chan string
}

func newOnlineLog() *onlineLog { return &onlineLog{events: make(chan string, 1000)} }

func (f *onlineLog) ConnOnline(delegate.ConnDescriber) error {
	f.events <- "online"
	return nil
}

func (f *onlineLog) ConnOffline(delegate.ConnDescriber) error {
	f.events <- "offline"
	return nil
}

// A client sends frames and closes right after the handshake. Its End delivers the frames, even
// if the exchange of registrations was not complete.
func TestClientThatLeavesAtOnceIsHeard(t *testing.T) {
	served := func(opt *server.EndOptions) {
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: rig.Echo})
	}
	for _, c := range []struct {
		name    string
		options func(*server.EndOptions)
		goodbye [][]byte
	}{
		{"nothing to exchange", func(*server.EndOptions) {}, [][]byte{rawClose(0, "")}},
		{"it has not taken note of a method", served, [][]byte{rawClose(0, "")}},
		{"it has not registered a method", func(opt *server.EndOptions) { opt.SetWaitRemoteRPCs("r") }, [][]byte{rawClose(0, "")}},
		{"it closes with a code", served, [][]byte{rawClose(1000, "that was all")}},
		{"it wants nothing new first", served, [][]byte{
			packet.AppendReason(nil, packet.TypeGoAway, 0, packet.Reason{}), rawClose(0, ""),
		}},
	} {
		for _, told := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/delegate %v", c.name, told), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					opt := server.NewEndOptions()
					c.options(opt)
					f := newOnlineLog()
					if told {
						opt.SetDelegate(f)
					}
					nl, l := newPipeServer(t, opt)
					defer l.Close()
					r, _ := dialClient(t, nl, rawHello{})
					defer r.nc.Close()
					sendWork(r)
					r.send(c.goodbye...)
					synctest.Wait()
					end := acceptEnd(t, l)
					wantWork(t, end, c.name == "it closes with a code")
					if told {
						assert.Equal(t, "online", <-f.events)
						assert.Equal(t, "offline", <-f.events)
					}
				})
			})
		}
	}
}

// acceptEnd returns the next End, which must be ready to be accepted.
func acceptEnd(t *testing.T, l server.Listener) geminio.End {
	t.Helper()
	end := kit.Returned(t, kit.Start(func() geminio.End {
		end, _ := l.AcceptEnd()
		return end
	}))
	require.NotNil(t, end, "AcceptEnd failed")
	return end
}

// A client whose connection breaks before the exchange of registrations is complete has no End,
// since an unknown number of its frames is missing.
func TestClientThatBreaksInTheExchangeIsNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: rig.Echo})
		f := newOnlineLog()
		opt.SetDelegate(f)
		nl, l := newPipeServer(t, opt)
		r, _ := dialClient(t, nl, rawHello{})
		sendWork(r)
		r.nc.Close()
		assert.Equal(t, "online", <-f.events)
		assert.Equal(t, "offline", <-f.events)
		synctest.Wait()
		accepted := kit.Start(func() error { _, err := l.AcceptEnd(); return err })
		synctest.Wait()
		assert.Empty(t, accepted)
		require.NoError(t, l.Close())
		assert.Equal(t, net.ErrClosed, <-accepted)
	})
}

// A client that stays connected and refuses or ignores the registrations has no End.
func TestClientThatDoesNotTakeNoteIsNotAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := server.NewEndOptions()
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: rig.Echo})
		nl, l := newPipeServer(t, opt)
		r, _ := dialClient(t, nl, rawHello{})
		defer r.nc.Close()
		accepted := kit.Start(func() error { _, err := l.AcceptEnd(); return err })
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(t, accepted)
		require.NoError(t, l.Close())
		assert.Equal(t, net.ErrClosed, <-accepted)
	})
}

// The requests that a client sends before it closes are served.
func TestRequestsOfClientThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := make(chan string, 10)
		opt := server.NewEndOptions()
		opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: func(_ context.Context, req geminio.Request, _ geminio.Response) {
			served <- string(req.Data())
		}})
		nl, l := newPipeServer(t, opt)
		defer l.Close()
		r, _ := dialClient(t, nl, rawHello{})
		defer r.nc.Close()
		r.send(rawRequest(1, 1, "m", "one"), rawRequest(1, 2, "m", "two"))
		synctest.Wait()
		r.send(rawClose(0, ""))
		synctest.Wait()
		assert.Len(t, served, 2)
		_, err := acceptEnd(t, l).Receive(context.Background())
		assert.Equal(t, io.EOF, err)
	})
}

// AcceptEnd returns the Ends of one id in the order of their connections, even if the first has
// left, or was replaced, before it was accepted.
func TestEndsOfOneClientComeInOrder(t *testing.T) {
	for _, how := range []string{"leaves", "is replaced"} {
		t.Run(how, func(t *testing.T) {
			for range 20 {
				synctest.Test(t, func(t *testing.T) {
					opt := server.NewEndOptions()
					opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: rig.Echo})
					nl, l := newPipeServer(t, opt)
					defer l.Close()
					r, _ := dialClient(t, nl, rawHello{clientID: 7})
					defer r.nc.Close()
					r.send(rawMessage(1, 0, 1, "first"))
					synctest.Wait()
					if how == "leaves" {
						r.send(rawClose(0, ""))
					}
					r, id := dialClient(t, nl, rawHello{clientID: 7})
					defer r.nc.Close()
					require.EqualValues(t, 7, id)
					r.send(rawMessage(1, 0, 1, "second"), rawClose(0, ""))
					synctest.Wait()
					for _, text := range []string{"first", "second"} {
						m, err := acceptEnd(t, l).Receive(context.Background())
						require.NoError(t, err, text)
						require.Equal(t, text, string(m.Data()))
					}
				})
			}
		})
	}
}

// onceMessage returns a message that is sent at most once.
func onceMessage(s geminio.Messager) geminio.Message {
	opt := options.NewMessage()
	opt.SetCnss(options.CnssAtMostOnce)
	return s.NewMessage([]byte("once"), opt)
}

// Many clients connect one after the other, publish a message, and leave. Every other one writes
// to a stream too. Nothing is lost.
func TestClientsThatComeAndGo(t *testing.T) {
	clients, messages := 2*kit.Amount("tcp", 300), 20
	opt := server.NewEndOptions()
	opt.SetRegisterLocalRPCs(&geminio.MethodRPC{Method: "m", RPC: rig.Echo})
	l, err := server.Listen("tcp", "127.0.0.1:0", opt)
	require.NoError(t, err)
	received := make(chan int, clients)
	go func() {
		for {
			end, err := l.AcceptEnd()
			if err != nil {
				close(received)
				return
			}
			go func() {
				n := 0
				for {
					if _, err := end.Receive(context.Background()); err != nil {
						break
					}
					n++
				}
				if s, err := end.AcceptStream(); err == nil {
					if text, _ := io.ReadAll(s); string(text) == "written" {
						n++
					}
				}
				end.Close()
				received <- n
			}()
		}
	}()
	for i := range clients {
		end, err := client.NewEnd("tcp", l.Addr().String())
		require.NoError(t, err)
		if i%2 == 1 {
			s, err := end.OpenStream()
			require.NoError(t, err)
			_, err = io.WriteString(s, "written")
			require.NoError(t, err)
		}
		for range messages {
			require.NoError(t, end.Publish(t.Context(), onceMessage(end)))
		}
		require.NoError(t, end.Close())
	}
	total := 0
	for range clients {
		total += kit.Await(t, kit.Forever, "the work of a client", received)
	}
	assert.Equal(t, clients*messages+clients/2, total)
	require.NoError(t, l.Close())
	if _, open := <-received; open {
		t.Error(errors.New("more Ends than clients"))
	}
}
