package attack

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/kit"
)

// session returns frames of all types that a client may send, in a valid order.
func session() []byte {
	var b []byte
	b = packet.AppendPing(b, packet.TypePing, 1)
	b = open(b, 3, []byte("meta"))
	b = request(b, 1, 1, "echo", []byte("data")...)
	b = cancel(b, 1, 1)
	b = request(b, 1, 2, "nobody's")
	b = message(b, 1, 1, []byte("news")...)
	b = data(b, 0, 1, []byte("raw bytes"))
	b = frame(b, packet.TypeRegister, 0, 1, 3, []byte("method"))
	b = append(b, credit(1, packet.ClassRaw, 10)...)
	b = append(b, credit(0, packet.ClassHandlers, 1)...)
	large := make([]byte, 20<<10)
	b = frame(b, packet.TypeRequest, uint32(len(large)), 1, 4, large[:1000])
	h := packet.Header{Type: packet.TypeRequest, Flags: packet.FlagNext, Stream: 1, Length: uint32(8 + len(large) - 1000)}
	b = packet.AppendFragmentHeader(packet.AppendHeader(b, h), packet.FragmentHeader{Seq: 4}, h.Flags)
	b = append(b, large[1000:]...)
	b = frame(b, packet.TypeMessage, uint32(len(large)), 1, 2, large[:1000])
	b = frame(b, packet.TypeAbandon, 0, 1, 2, []byte{byte(packet.TypeMessage)})
	b = frame(b, packet.TypeResponse, 0, 1, 9, (&packet.Response{}).Append(nil))
	b = frame(b, packet.TypeAck, 0, 1, 9, (&packet.Answer{}).Append(nil))
	b = packet.AppendReason(b, packet.TypeStop, 1, packet.Reason{})
	b = data(b, packet.FlagFin, 1, nil)
	b = packet.AppendReason(b, packet.TypeGoAway, 0, packet.Reason{Text: "bye"})
	b = packet.AppendReason(b, packet.TypeReset, 3, packet.Reason{Code: 1})
	return b
}

// mutants are the ways to make hostile bytes, by name.
var mutants = map[string]func(r *rand.Rand) []byte{
	"random bytes": func(r *rand.Rand) []byte { return random(r, r.IntN(4<<10)) },
	"random payloads in frames": func(r *rand.Rand) []byte {
		var b []byte
		types := []packet.Type{1, 2, 3, 4, 5, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x93}
		for range 1 + r.IntN(8) {
			p := random(r, r.IntN(200))
			b = packet.AppendHeader(b, packet.Header{
				Type: types[r.IntN(len(types))], Flags: packet.Flags(r.IntN(4)), Stream: uint64(r.IntN(5)), Length: uint32(len(p)),
			})
			b = append(b, p...)
		}
		return b
	},
	"flipped bits": func(r *rand.Rand) []byte {
		b := session()
		for range 1 + r.IntN(4) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return b
	},
	"flipped bits of headers": func(r *rand.Rand) []byte {
		frames := split(session())
		for range 1 + r.IntN(4) {
			f := frames[r.IntN(len(frames))]
			f[r.IntN(min(len(f), packet.HeaderLen+20))] ^= 1 << r.IntN(8)
		}
		return join(frames)
	},
	"truncated": func(r *rand.Rand) []byte {
		b := session()
		return b[:r.IntN(len(b))]
	},
	"bytes missing": func(r *rand.Rand) []byte {
		b := session()
		i := r.IntN(len(b))
		return append(b[:i:i], b[min(len(b), i+1+r.IntN(30)):]...)
	},
	"reordered": func(r *rand.Rand) []byte {
		frames := split(session())
		r.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
		return join(frames)
	},
	"repeated": func(r *rand.Rand) []byte {
		frames := split(session())
		for range len(frames) {
			frames = append(frames, frames[r.IntN(len(frames))])
		}
		return join(frames)
	},
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func split(b []byte) (frames [][]byte) {
	for len(b) > 0 {
		h, err := packet.ParseHeader(b, 1<<20)
		if err != nil {
			panic(err)
		}
		n := packet.HeaderLen + int(h.Length)
		frames = append(frames, b[:n:n])
		b = b[n:]
	}
	return frames
}

func join(frames [][]byte) (b []byte) {
	for _, f := range frames {
		b = append(b, f...)
	}
	return b
}

// Random, bit-flipped, truncated and reordered frames do not end the process of a live
// server. What it allocates for a connection follows the bytes that come, and nothing is
// left.
func TestHostileFramesAgainstALiveServer(t *testing.T) {
	sendMutants(t, mutants, (*targetServer).sendHostile)
}

// sendMutants sends the bytes of each mutant to a live server, over connections of their own.
func sendMutants(t *testing.T, mutants map[string]func(*rand.Rand) []byte, strike func(*targetServer, []byte)) {
	const (
		rounds = 100 / kit.Slowdown // connections of each kind
		factor = 64                 // bytes allocated for each byte that arrives
		left   = 1 << 20            // bytes of the heap after the connections have ended
	)
	// flat bounds the bytes allocated for a connection on both sides, whatever arrives. Under
	// the race detector a sync.Pool drops items at random, so that buffers are made again.
	flat := 768 << 10
	if kit.Race {
		flat *= 4
	}
	for name, mutant := range mutants {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before := measure()
				r := rand.New(rand.NewPCG(seed, 0))
				var m0, m1 runtime.MemStats
				bytes := 0
				runtime.ReadMemStats(&m0)
				for range rounds {
					b := mutant(r)
					bytes += len(b)
					strike(s, b)
				}
				runtime.ReadMemStats(&m1)
				allocated := int64(m1.TotalAlloc - m0.TotalAlloc)
				require.LessOrEqual(t, allocated, int64(rounds*flat+bytes*factor), "bytes allocated for %d connections and %d bytes", rounds, bytes)
				s.wantService("after all connections")
				before.wantLeft(t, left, 4, "after all connections")
			})
		})
	}
}

// sendHostile performs a handshake, sends b, closes the connection without a Close frame, and
// waits until the server has noticed.
func (s *targetServer) sendHostile(b []byte) {
	s.t.Helper()
	a := s.attack().startReading()
	a.send(b)
	if tcp, ok := a.nc.(*net.TCPConn); ok {
		tcp.CloseWrite()
	} else {
		a.leave()
	}
	a.wantEnd("the attacker closed the connection")
	a.leave()
	<-a.readDone
	s.dropEnd(a)
}

// Connections break while their streams open. The goroutine that notices the break ends
// streams whose callbacks are still running.
func TestConnectionsThatBreakWhileStreamsOpen(t *testing.T) {
	const connections = 1000 / kit.Slowdown
	overTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		w := offer()
		first := hello(t, packet.Conn{PacketID: 1, Settings: &w})
		for i := range connections {
			nc, err := s.dial()
			require.NoError(t, err)
			_, err = nc.Write(first)
			require.NoError(t, err)
			ack, err := readAck(nc)
			require.NoError(t, err)
			var opens []byte
			for j := range 1 + i%8 {
				opens = open(opens, number(j), nil)
			}
			nc.Write(opens)
			nc.(interface{ SetLinger(int) error }).SetLinger(0) // Close resets the connection
			nc.Close()
			end := s.end(ack.ClientID)
			<-end.Done()
			s.mu.Lock()
			delete(s.ends, ack.ClientID)
			s.mu.Unlock()
		}
		s.wantService("after the attack")
		before.wantLeft(t, 2*connHeap, 4, "after the connections broke")
	})
}

// FuzzFrames is TestHostileFramesAgainstALiveServer with the bytes of the fuzzer.
func FuzzFrames(f *testing.F) {
	var small [][]byte // the seeds; the fuzzer is slow with long ones
	for _, frame := range split(session()) {
		if len(frame) < 2<<10 {
			f.Add(frame)
			small = append(small, frame)
		}
	}
	f.Add(join(small))
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := net.Pipe()
		ended := make(chan error, 1)
		go func() {
			end, err := server.NewEndWithConn(far)
			if err == nil {
				_, err = io.Copy(io.Discard, end)
				end.Close()
			}
			ended <- err
		}()
		near.SetDeadline(time.Now().Add(forever))
		w := offer()
		_, err := near.Write(hello(t, packet.Conn{PacketID: 1, Settings: &w}))
		require.NoError(t, err)
		_, err = readAck(near)
		require.NoError(t, err)
		near.SetDeadline(time.Now().Add(forever))
		go io.Copy(io.Discard, near)
		near.Write(b)
		near.Close()
		<-ended
	})
}

// Frames of unknown types. Ignorable types are skipped. Any other unknown type ends the
// connection with an error that names the version.
func TestUnknownFrames(t *testing.T) {
	raw := func(h packet.Header, p ...byte) []byte {
		h.Length = uint32(len(p))
		return append(packet.AppendHeader(nil, h), p...)
	}
	for name, test := range map[string]struct {
		bytes []byte
		texts []string
	}{
		"a type":                   {raw(packet.Header{Type: 0x6f}), []string{"unknown type 0x6f", "wire 2"}},
		"a type among the packets": {raw(packet.Header{Type: 0x28, Stream: 1}, make([]byte, 20)...), []string{"unknown type 0x28", "wire 2"}},
		"a flag":                   {raw(packet.Header{Type: packet.TypeData, Flags: 0x80, Stream: 1}), []string{"data: unknown flags 0x80", "wire 2"}},
		"a flag of a request":      {raw(packet.Header{Type: packet.TypeRequest, Flags: 4, Stream: 1}, make([]byte, 30)...), []string{"request: unknown flags 0x04", "wire 2"}},
		"a cnss":                   {frame(nil, packet.TypeMessage, 0, 1, 1, (&packet.Message{Cnss: 9}).Append(nil)), []string{"unknown cnss 9"}},
		"abandon of a register":    {frame(nil, packet.TypeAbandon, 0, 1, 1, []byte{0x24}), []string{"abandon", "names no packet"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack().startReading()
				defer a.leave()
				a.mustSend(test.bytes, "a frame of an unknown type")
				a.wantViolation("a frame of an unknown type", test.texts...)
				a.leave()
				s.wantService("after the attack")
				before.wantLeft(t, connHeap, connGoroutines, "after a frame of an unknown type")
			})
		})
	}
	t.Run("ignorable types", func(t *testing.T) {
		onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
			const times = 1000
			before := measure()
			a := s.attack().startReading()
			defer a.leave()
			n := a.flood(times, func(b []byte, i int) []byte {
				return append(b, raw(packet.Header{Type: 0x80 + packet.Type(i%0x80), Flags: 0xff, Stream: uint64(i)}, make([]byte, i)...)...)
			})
			require.Equal(t, times, n)
			a.mustSend(request(nil, 1, 1, "echo"), "a call after them")
			a.wait(packet.TypeResponse, 1, "the response")
			s.wantService("during the attack")
			before.wantAtMost(t, connHeap, connGoroutines+4, "frames of ignorable types")
		})
	})
}

// Handshakes of other versions. A server that refuses wire 1 tells its peers so with a
// code. A first packet that is not a Conn gets no answer.
func TestOtherVersionsInTheHandshake(t *testing.T) {
	refuse := func(o *server.EndOptions) { o.SetRefuseWireV1() }
	onPipeAndTCP(t, serverSetup{options: refuse}, func(t *testing.T, s *targetServer) {
		before := measure()
		old, err := s.dial()
		require.NoError(t, err)
		defer old.Close()
		go old.Write(hello(t, packet.Conn{PacketID: 1, Meta: []byte("m")}))
		ack, err := readAck(old)
		require.NoError(t, err)
		require.True(t, ack.Refused)
		require.Equal(t, geminio.CodeVersion, geminio.Code(ack.Code), ack.Error)
		require.Contains(t, ack.Error, "wire 1 only, this server wire 2")

		for i, begin := range [][]byte{{2, 1}, {1, 2}, {1, 9}, {0x16, 3}, []byte("GET / HTTP/1.1\r\n")} {
			nc, err := s.dial()
			require.NoError(t, err)
			go nc.Write(append(begin, make([]byte, 100)...))
			nc.SetReadDeadline(time.Now().Add(forever))
			n, err := nc.Read(make([]byte, 1))
			require.Zero(t, n, fmt.Sprint(i))
			require.Error(t, err)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, fmt.Sprint(i))
			nc.Close()
		}
		s.wantService("after the attack")
		before.wantLeft(t, connHeap, 4, "after handshakes of other versions")
	})
}
