package attack

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

const (
	// silentPeers is the number of connections that send nothing or half a handshake.
	silentPeers = 1000
	// perSilent bounds the bytes of one of them: the connection, its goroutines and, in
	// memory, the pipe.
	perSilent = 8 << 10
	// perGone bounds the bytes after its end: the side of the pipe that the test has, and
	// the memory that the runtime keeps of a goroutine.
	perGone = 2 << 10
)

// Peers that send nothing, or stop in the middle of the handshake, occupy one goroutine
// each until the handshake timeout. On a transport that is not known to interrupt its
// readers they occupy two. They delay no other client.
func TestSilentPeersDelayNobody(t *testing.T) {
	begin := hello(t, packet.Conn{PacketID: 1, Settings: new(packet.Settings)})
	attack := func(t *testing.T, s *targetServer) (peers []net.Conn) {
		for i := range silentPeers {
			nc, err := s.dial()
			require.NoError(t, err)
			peers = append(peers, nc)
			if n := i % 4 * 10; n > 0 {
				_, err := nc.Write(begin[:n])
				require.NoError(t, err)
			}
		}
		return peers
	}
	t.Run("pipe", func(t *testing.T) {
		inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
			before := measure()
			start := time.Now()
			peers := attack(t, s)
			synctest.Wait()
			s.wantService("while the handshakes of silent peers are open")
			require.Zero(t, time.Since(start), "the time for which silent peers delay another client")
			before.wantAtMost(t, silentPeers*perSilent, 2*silentPeers, "silent peers")
			for _, nc := range peers {
				_, err := nc.Read(make([]byte, 1))
				require.Error(t, err, "Read after the handshake timeout")
			}
			require.Equal(t, handshakeTime, time.Since(start), "the time until the last silent peer was disconnected")
			before.wantLeft(t, silentPeers*perGone+connHeap, 0, "after the silent peers")
		})
	})
	t.Run("tcp", func(t *testing.T) {
		// No handshake ends before the test does, so that a client that waits for one fails.
		w := serverSetup{options: func(o *server.EndOptions) { o.SetHandshakeTimeout(10 * forever) }}
		overTCP(t, w, func(t *testing.T, s *targetServer) {
			before := measure()
			peers := attack(t, s)
			defer func() {
				for _, nc := range peers {
					nc.Close()
				}
			}()
			s.wantService("while the handshakes of silent peers are open")
			before.wantAtMost(t, silentPeers*perSilent+connHeap, silentPeers+8, "silent peers")
		})
	})
}

// The memory of a client that completes the handshake with as much meta as allowed and
// then does nothing.
func TestIdleClientsCostLittle(t *testing.T) {
	const (
		clients = 100 / kit.Slowdown
		meta    = 48<<10 - 400 // bytes; in base64 and with the settings it fills a handshake packet
		// The bytes of the meta, the Conn and the End of a client, the other side of the
		// pipe, and the memory of the test.
		perClient = meta + 32<<10
	)
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		w := offer()
		var peers []net.Conn
		for range clients {
			nc, err := s.dial()
			require.NoError(t, err)
			defer nc.Close()
			b := hello(t, packet.Conn{PacketID: 1, Meta: make([]byte, meta), Settings: &w})
			go nc.Write(b)
			ack, err := readAck(nc)
			require.NoError(t, err)
			require.False(t, ack.Refused)
			s.end(ack.ClientID)
			peers = append(peers, nc)
		}
		s.wantService("during the attack")
		before.wantAtMost(t, clients*perClient+connHeap, clients+4, "idle clients with 48 KiB of meta each")
		require.Len(t, peers, clients)
	})
}

// As TestIdleClientsCostLittle, with the longest possible list of features. The parsed
// list takes more memory than its JSON: a Go string has 16 bytes, and "" with a comma has
// three.
func TestFeaturesThatNobodyKnows(t *testing.T) {
	const (
		clients   = 40 / kit.Slowdown
		features  = 21_000
		perClient = 16*features*3/2 + 64<<10 // a slice that has grown may be half empty
	)
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		w := offer()
		w.Features = make([]string, features)
		b := hello(t, packet.Conn{PacketID: 1, Settings: &w})
		w.Features = nil
		for range clients {
			nc, err := s.dial()
			require.NoError(t, err)
			defer nc.Close()
			go nc.Write(b)
			ack, err := readAck(nc)
			require.NoError(t, err)
			require.False(t, ack.Refused)
			s.end(ack.ClientID)
		}
		s.wantService("during the attack")
		before.wantAtMost(t, clients*perClient+connHeap, clients+4, "idle clients with long lists of features")
	})
}

// tokenDelegate is a delegate that accepts signed tokens alone. A token has the id of the
// client and a count that must grow.
type tokenDelegate struct {
	*delegate.UnimplementedDelegate
	key []byte

	mu     sync.Mutex
	last   map[uint64]uint64 // the last count of each client
	online int
}

func (g *tokenDelegate) token(clientID, count uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, clientID)
	b = binary.BigEndian.AppendUint64(b, count)
	mac := hmac.New(sha256.New, g.key)
	mac.Write(b)
	return mac.Sum(b)
}

func (g *tokenDelegate) GetClientID(wanted uint64, meta []byte) (uint64, error) {
	if len(meta) != 16+sha256.Size {
		return 0, errors.New("no token")
	}
	clientID, count := binary.BigEndian.Uint64(meta), binary.BigEndian.Uint64(meta[8:])
	if !hmac.Equal(meta, g.token(clientID, count)) {
		return 0, errors.New("bad token")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case wanted != 0 && wanted != clientID:
		return 0, errors.New("the token is another client's")
	case count <= g.last[clientID]:
		return 0, errors.New("the token was used")
	}
	g.last[clientID] = count
	return clientID, nil
}

func (g *tokenDelegate) ConnOnline(delegate.ConnDescriber) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.online++
	return nil
}

// The delegate refuses forged ids and replayed or changed credentials before the server
// creates an End, calls another callback or keeps any state. The client that has the
// requested id keeps its connection.
func TestForgedAndReplayedCredentials(t *testing.T) {
	for network, run := range map[string]func(*testing.T, serverSetup, func(*testing.T, *targetServer)){"pipe": inBubble, "tcp": overTCP} {
		t.Run(network, func(t *testing.T) {
			g := &tokenDelegate{key: []byte("secret"), last: make(map[uint64]uint64)}
			w := serverSetup{options: func(o *server.EndOptions) { o.SetDelegate(g) }}
			var count uint64 = 100
			w.meta = func() []byte { count++; return g.token(1000+count, count) }
			run(t, w, func(t *testing.T, s *targetServer) {
				const victim = 7
				token := g.token(victim, 1)
				opt := client.NewEndOptions()
				opt.SetMeta(token)
				nc, err := s.dial()
				require.NoError(t, err)
				end, err := client.NewEndWithConn(nc, opt)
				require.NoError(t, err)
				defer end.Close()
				require.EqualValues(t, victim, end.ClientID())
				s.end(victim)
				before := measure()
				g.mu.Lock()
				online := g.online
				g.mu.Unlock()

				changed := append([]byte(nil), g.token(victim, 2)...)
				changed[15]++
				offered := offer()
				for range 50 {
					for reason, hostile := range map[string]packet.Conn{
						"no token":                      {ClientID: victim},
						"bad token":                     {ClientID: victim, Meta: changed},
						"the token was used":            {ClientID: victim, Meta: token},
						"the token is another client's": {ClientID: victim + 1, Meta: g.token(victim, 3)},
					} {
						hostile.PacketID, hostile.Settings = 1, &offered
						nc, err := s.dial()
						require.NoError(t, err)
						go nc.Write(hello(t, hostile))
						ack, err := readAck(nc)
						require.NoError(t, err)
						require.True(t, ack.Refused, reason)
						require.Equal(t, reason, ack.Error)
						require.Equal(t, geminio.CodeApplication, geminio.Code(ack.Code))
						require.Zero(t, ack.ClientID)
						nc.Close()
					}
				}
				g.mu.Lock()
				require.Equal(t, online, g.online, "ConnOnline callbacks")
				g.mu.Unlock()
				s.mu.Lock()
				require.Len(t, s.ends, online, "Ends of the server")
				s.mu.Unlock()
				before.wantLeft(t, connHeap, 4, "after the refusals")
				ctx, cancel := context.WithTimeout(t.Context(), forever)
				defer cancel()
				_, err = end.Call(ctx, "echo", end.NewRequest(nil))
				require.NoError(t, err, "a call of the client whose id the attackers asked for")
				s.wantService("after the attack")
			})
		})
	}
}

// A client calls thousands of methods that do not exist. Each answer says that the method
// does not exist, and the server keeps no memory of the names.
func TestProbingOfMethods(t *testing.T) {
	const probes = 10_000 / kit.Slowdown
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		for i := range probes {
			require.True(t, a.until(func() bool { return a.handlerCredit > 0 }), "no credit for requests comes back; the reason of the Close frame: %+v", a.closeReason)
			a.mu.Lock()
			a.handlerCredit--
			a.mu.Unlock()
			name := strings.Repeat("x", i%1000) + "probe"
			a.mustSend(request(nil, 1, uint64(i+1), name), "a call of a method that does not exist")
		}
		r, err := packet.ParseResponse(a.wait(packet.TypeResponse, probes, "a response to each call")[8:])
		require.NoError(t, err)
		require.Equal(t, geminio.CodeNoMethod, geminio.Code(r.Code))
		require.True(t, strings.HasPrefix(r.Text, "no such rpc: x"), r.Text)
		require.False(t, a.over())
		s.wantService("during the attack")
		before.wantAtMost(t, handlerNoise, 64+connGoroutines+4, "calls of methods that do not exist")
	})
}

// The names that a peer registers are bounded in number and in length.
func TestRegistrationsAreBounded(t *testing.T) {
	const (
		most    = 1 << 14 // the number of names of a connection
		longest = 1000    // bytes of a name
		tried   = most + 1000
		heap    = most*(1024+128) + connHeap
	)
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		register := func(i int, name []byte) {
			require.True(t, a.until(func() bool { return a.handlerCredit > 0 }), "no credit for requests comes back; the reason of the Close frame: %+v", a.closeReason)
			a.mu.Lock()
			a.handlerCredit--
			a.mu.Unlock()
			a.mustSend(frame(nil, packet.TypeRegister, 0, 1, uint64(i), name), "a registration")
		}
		answer := func(i int) packet.Answer {
			r, err := packet.ParseAnswer(packet.TypeRegistered, a.wait(packet.TypeRegistered, i, "the answer")[8:])
			require.NoError(t, err)
			return r
		}
		register(1, make([]byte, longest+1))
		require.Equal(t, geminio.CodeTooLarge, geminio.Code(answer(1).Code), "the code for a name above the limit")
		name := make([]byte, longest)
		for i := range tried {
			binary.BigEndian.PutUint64(name, uint64(i))
			register(i+2, name)
		}
		r := answer(tried + 1)
		require.Equal(t, geminio.CodeLimit, geminio.Code(r.Code))
		require.Equal(t, "too many methods: 16384 are registered", r.Text)
		require.False(t, a.over())
		s.wantService("during the attack")
		before.wantAtMost(t, heap, connGoroutines+4, "registered names")
	})
}
