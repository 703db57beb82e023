package attack

import (
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
)

const (
	// lingerTime is the time for which the server reads and discards the bytes of a peer
	// that has violated the protocol, so that no reset destroys its Close frame.
	lingerTime = 5 * time.Second
	// silence is the time without a byte after which the server gives a peer up.
	silence = 40 * time.Second
	// handshakeTime is the handshake timeout.
	handshakeTime = 10 * time.Second
	// largestBody is the default limit of a request, response or message.
	largestBody = 64 << 20
	// connHeap bounds the bytes of a connection without credit: its read buffer, one frame,
	// and the memory of the test.
	connHeap = 512 << 10
	// connGoroutines is the number of goroutines of a connection and of its attacker.
	connGoroutines = 4
)

// A handshake packet announces a body above the limit. The server closes the connection
// after the header.
func TestOversizeHandshakeIsRefusedAtItsHeader(t *testing.T) {
	for name, length := range map[string]uint32{"by one": 64<<10 + 1, "by far": 1<<32 - 1} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before, read := measure(), s.read.Load()
				start := time.Now()
				nc, err := s.dial()
				require.NoError(t, err)
				b := binary.BigEndian.AppendUint32([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 1}, length)
				_, err = nc.Write(append(b, make([]byte, 1<<20)...))
				require.Error(t, err, "Read after the server closed the connection")
				require.EqualValues(t, packet.HandshakeHeaderLen, s.read.Load()-read, "bytes that the server has read")
				require.Zero(t, time.Since(start), "the time until the connection ended")
				s.wantService("after the attack")
				before.wantLeft(t, connHeap, 0, "after a handshake above the limit")
			})
		})
	}
}

// A packet announces a length above the limit. The server refuses it before its body
// arrives, and discards the following bytes for the linger time at most.
func TestOversizePacketsAreRefusedBeforeTheyAreRead(t *testing.T) {
	oversize := func(typ packet.Type) []byte {
		return frame(nil, typ, largestBody+packet.MaxHead+1, 1, 1, []byte("begin"))
	}
	header := func(typ packet.Type, length uint32) []byte {
		return packet.AppendHeader(nil, packet.Header{Type: typ, Stream: 1, Length: length})
	}
	for name, test := range map[string]struct {
		bytes []byte
		text  string
	}{
		"a frame":       {header(packet.TypeData, 64<<10+1), "data: length 65537 exceeds 65536"},
		"a huge frame":  {header(packet.TypeMessage, 1<<32-1), "4294967295 exceeds 65536"},
		"a request":     {oversize(packet.TypeRequest), "request: body of 67108897 bytes exceeds 67108896"},
		"a response":    {oversize(packet.TypeResponse), "response: body of 67108897 bytes"},
		"a message":     {oversize(packet.TypeMessage), "message: body of 67108897 bytes"},
		"an open":       {header(packet.TypeOpen, 64<<10+1), "open: length 65537"},
		"a method name": {header(packet.TypeRegister, 64<<10+1), "register: length 65537"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack().startReading()
				defer a.leave()
				start := time.Now()
				a.mustSend(test.bytes, "the length without the body")
				a.wantViolation("a length above the limit", test.text)
				require.Zero(t, time.Since(start), "the time until the connection ended")
				body := make([]byte, 1<<10)
				for a.send(body) == nil { // a piece every 100 ms
					time.Sleep(time.Second / 10)
				}
				require.InDelta(t, lingerTime, time.Since(start), float64(time.Second/10), "the time for which the server reads")
				s.wantService("after the attack")
				before.wantLeft(t, connHeap, connGoroutines, "after a length above the limit")
			})
		})
	}
}

// The length of a name or of custom bytes points beyond the end of the body.
func TestInnerLengthsAreChecked(t *testing.T) {
	inner := func(at int, value ...byte) []byte { // changes a request, whose fields follow the call number and the timeout
		body := (&packet.Request{Method: []byte("echo"), Custom: []byte("c")}).Append(nil)
		copy(body[at:], value)
		return frame(nil, packet.TypeRequest, 0, 1, 1, body)
	}
	topic := (&packet.Message{Cnss: 2, Topic: []byte("t")}).Append(nil)
	copy(topic[17:], []byte{0xff, 0xff})
	meta := open(nil, 3, nil)
	copy(meta[packet.HeaderLen+8:], []byte{0xff, 0xff}) // the length of peer
	for name, test := range map[string]struct {
		bytes []byte
		text  string
	}{
		"method": {inner(16, 0xff, 0xff), "request: a field goes beyond the end"},
		"custom": {inner(18, 0xff, 0xff, 0xff, 0xff), "request: a field goes beyond the end"},
		"topic":  {frame(nil, packet.TypeMessage, 0, 1, 1, topic), "message: a field goes beyond the end"},
		"peer":   {meta, "open: a field goes beyond the end"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack().startReading()
				a.mustSend(test.bytes, "a length beyond the end of the body")
				a.wantViolation("a length beyond the end of the body", test.text)
				a.leave()
				s.wantService("after the attack")
				before.wantLeft(t, connHeap, connGoroutines, "after a length beyond the end of the body")
			})
		})
	}
}

// Packets announce large bodies, and one byte of each arrives. The allocated memory follows
// the bytes that have arrived.
func TestFragmentsOfOneByte(t *testing.T) {
	const (
		total = 65535
		each  = largestBody / total // packets of each type, as many as have credit
		// perPacket bounds the memory for a packet that has begun, without its bytes.
		perPacket = 512
	)
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		sent := 0
		for _, typ := range []packet.Type{packet.TypeRequest, packet.TypeMessage, packet.TypeResponse} {
			n := a.flood(each, func(b []byte, i int) []byte {
				sent += packet.HeaderLen + packet.FragmentLen + 1
				return frame(b, typ, total, 1, uint64(i+1), []byte("x"))
			})
			require.Equal(t, each, n)
		}
		a.mustSend(request(nil, 1, 1<<20, "echo"), "a call after them")
		a.wait(packet.TypeResponse, 1, "the response")
		t.Logf("%d packets of %d bytes have begun; %d bytes were sent", 3*each, total, sent)
		before.wantAtMost(t, 3*each*perPacket+connHeap, connGoroutines+4, "packets of which one byte has arrived")
		s.wantService("during the attack")
	})
}

// A packet has empty fragments without end, as in CVE-2023-45288.
func TestEndlessContinuationCostsNothing(t *testing.T) {
	onPipeAndTCP(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		const fragments = 100_000
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		a.mustSend(frame(nil, packet.TypeRequest, largestBody, 1, 1, make([]byte, 100)), "the first fragment")
		h := packet.Header{Type: packet.TypeRequest, Flags: packet.FlagMore | packet.FlagNext, Stream: 1, Length: 8}
		n := a.flood(fragments, func(b []byte, i int) []byte {
			return packet.AppendFragmentHeader(packet.AppendHeader(b, h), packet.FragmentHeader{Seq: 1}, h.Flags)
		})
		require.Equal(t, fragments, n, "empty fragments that were sent before the connection ended")
		a.mustSend(request(nil, 1, 2, "echo"), "a call on the same connection")
		a.wait(packet.TypeResponse, 1, "the response")
		s.wantService("during the attack")
		before.wantAtMost(t, connHeap, connGoroutines+4, "empty fragments")
	})
}

// A packet announces a large body and does not send it. The allocated memory follows the
// bytes that have arrived, and the heartbeat timeout ends the connection.
func TestDeclaredLengthReservesNothing(t *testing.T) {
	for name, typ := range map[string]packet.Type{"request": packet.TypeRequest, "message": packet.TypeMessage, "response": packet.TypeResponse} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				before := measure()
				a := s.attack().startReading()
				defer a.leave()
				b := packet.AppendHeader(nil, packet.Header{Type: typ, Flags: packet.FlagMore, Stream: 1, Length: 64 << 10})
				b = packet.AppendFragmentHeader(b, packet.FragmentHeader{Seq: 1, Total: largestBody}, packet.FlagMore)
				a.mustSend(append(b, 'x'), "one byte of a packet of 64 MiB")
				for range 60 { // a byte in half a minute keeps the connection alive
					time.Sleep(silence - 10*time.Second)
					a.mustSend([]byte{'x'}, "one more byte")
				}
				last := time.Now()
				before.wantAtMost(t, connHeap, connGoroutines, "a packet of 64 MiB of which 61 bytes have arrived")
				a.wantEnd("the attacker sends nothing more")
				require.Equal(t, silence, time.Since(last), "the time until the server gave the silent peer up")
				require.ErrorIs(t, a.end.Cause(), geminio.ErrSilent)
				s.wantService("after the attack")
			})
		})
	}
}

// Many packets announce large bodies. Their credit bounds them from the first byte on.
func TestDeclaredLengthsTogetherAreBounded(t *testing.T) {
	const (
		body   = 64 << 10
		budget = 4 * (body + packet.MaxHead) * 16 // a quarter of it has room for 16 bodies
		heap   = budget/4 + connHeap              // the quarter for messages
	)
	fewBytes := func(o *server.EndOptions) {
		o.SetMaxStreams(64)
		o.SetMaxMessageSize(body)
		o.SetMemoryBudget(budget)
	}
	onPipeAndTCP(t, serverSetup{options: fewBytes}, func(t *testing.T, s *targetServer) {
		before := measure()
		a := s.attack().startReading()
		defer a.leave()
		for i := range 16 {
			a.mustSend(frame(nil, packet.TypeMessage, body+packet.MaxHead, 1, uint64(i+1), []byte{1}), "the first fragment of a packet with credit")
		}
		s.wantService("during the attack")
		before.wantAtMost(t, heap, connGoroutines+4, "16 packets of which one byte has arrived")
		a.send(frame(nil, packet.TypeMessage, body+packet.MaxHead, 1, 17, []byte{1}))
		a.wantViolation("a packet without credit", "large messages: 65568 sent with credit for 0")
	})
}

// A peer sends one byte of its handshake a second. The handshake timeout ends the
// connection.
func TestHandshakeByteByByte(t *testing.T) {
	inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		before := measure()
		start := time.Now()
		nc, err := s.dial()
		require.NoError(t, err)
		b := binary.BigEndian.AppendUint32([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 1}, 64<<10)
		_, err = nc.Write(append(b, make([]byte, 100)...))
		require.NoError(t, err)
		synctest.Wait()
		before.wantAtMost(t, 32<<10, 2, "a handshake of 64 KiB of which 100 bytes have arrived")
		done := make(chan struct{})
		go func() {
			defer close(done)
			for err := error(nil); err == nil; time.Sleep(time.Second) {
				_, err = nc.Write([]byte{0})
			}
		}()
		_, err = nc.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "Read of the answer to half a handshake")
		require.Equal(t, handshakeTime, time.Since(start), "the time until the server gave the handshake up")
		<-done
		s.wantService("after the attack")
		before.wantLeft(t, connHeap, 0, "after the handshake timeout")
	})
}
