package attack

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
)

// once appends a message that is sent at most once to b, in one frame.
func once(b []byte, call uint64, data ...byte) []byte {
	return frame(b, packet.TypeMessage, 0, 1, call, onceBody(data))
}

func onceBody(data []byte) []byte {
	m := packet.Message{Cnss: 1}
	return append(m.Append(nil), data...)
}

// fragment appends a fragment after the first one of a packet on stream 1 to b.
func fragment(b []byte, typ packet.Type, flags packet.Flags, call uint64, body []byte) []byte {
	start := len(b)
	b = packet.AppendHeader(b, packet.Header{Type: typ, Flags: flags, Stream: 1})
	b = packet.AppendFragmentHeader(b, packet.FragmentHeader{Seq: call}, flags)
	b = append(b, body...)
	packet.PutLength(b[start:])
	return b
}

// receivingServer returns the setup of a server that acknowledges each message and sends its
// data to ch.
func receivingServer(ch chan<- string) serverSetup {
	return serverSetup{serve: func(end geminio.End) {
		go func() {
			for {
				msg, err := end.Receive(context.Background())
				if err != nil {
					return
				}
				ch <- string(msg.Data())
				msg.Done()
			}
		}()
	}}
}

// arrived returns the value that a goroutine of the bubble sends to ch before all of them are
// blocked.
func arrived[T any](t *testing.T, ch <-chan T, reason string) (v T) {
	t.Helper()
	synctest.Wait()
	select {
	case v = <-ch:
	default:
		require.Fail(t, "no value was sent", reason)
	}
	return v
}

// The number 0 belongs to messages without an ack. Any other packet with it is a violation.
func TestTheNumberOfWhatIsNotAnswered(t *testing.T) {
	for name, b := range map[string][]byte{
		"request":         request(nil, 1, 0, "echo"),
		"register":        frame(nil, packet.TypeRegister, 0, 1, 0, []byte("method")),
		"message":         message(nil, 1, 0),
		"a large request": fragment(frame(nil, packet.TypeRequest, 20<<10, 1, 0, make([]byte, 10<<10)), packet.TypeRequest, packet.FlagNext, 0, make([]byte, 10<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				a := s.attack().startReading()
				defer a.leave()
				a.mustSend(b, "a packet with the number 0")
				a.wantViolation("a packet with the number 0", "the number 0 is that of messages without an answer")
				s.wantService("after the attack")
			})
		})
	}
	t.Run("messages without an ack", func(t *testing.T) {
		got := make(chan string, 10)
		inBubble(t, receivingServer(got), func(t *testing.T, s *targetServer) {
			a := s.attack().startReading()
			defer a.leave()
			large := onceBody(make([]byte, 20<<10))
			b := once(nil, 0, 'a')
			b = once(b, 0, 'b')
			b = once(b, 7, 'c') // a message without an ack may have another number
			b = frame(b, packet.TypeMessage, uint32(len(large)), 1, 0, large[:10])
			b = fragment(b, packet.TypeMessage, packet.FlagNext, 0, large[10:])
			b = frame(b, packet.TypeMessage, uint32(len(large)), 1, 0, large[:10])
			b = frame(b, packet.TypeAbandon, 0, 1, 0, []byte{byte(packet.TypeMessage)})
			b = once(b, 0, 'd')
			a.mustSend(b, "messages without an ack")
			for _, want := range []string{"a", "b", "c"} {
				require.Equal(t, want, arrived(t, got, want))
			}
			require.Len(t, arrived(t, got, "the large message"), 20<<10)
			require.Equal(t, "d", arrived(t, got, "the message d"))
			require.Empty(t, got)
			require.Zero(t, a.count(packet.TypeAck))
			require.False(t, a.over())

			b = frame(nil, packet.TypeMessage, uint32(len(large)), 1, 0, large[:10])
			b = frame(b, packet.TypeMessage, uint32(len(large)), 1, 0, large[:10])
			a.mustSend(b, "a message with the number of an unfinished one")
			a.wantViolation("a message with the number of an unfinished one", "message: number 0 begins twice")
		})
	})
}

// Messages are received in the order of their last frames. A message between the fragments of
// another one comes first.
func TestMessageWithinAMessage(t *testing.T) {
	got := make(chan string, 10)
	inBubble(t, receivingServer(got), func(t *testing.T, s *targetServer) {
		a := s.attack().startReading()
		defer a.leave()
		body := func(c byte) []byte {
			data := make([]byte, 20<<10)
			data[0] = c
			return message(nil, 1, 1, data...)[packet.HeaderLen+8:]
		}
		first, second := body('1'), body('2')
		b := frame(nil, packet.TypeMessage, uint32(len(first)), 1, 1, first[:100])
		b = frame(b, packet.TypeMessage, uint32(len(second)), 1, 2, second[:200])
		b = message(b, 1, 3, '3')
		b = fragment(b, packet.TypeMessage, packet.FlagNext|packet.FlagMore, 1, first[100:200])
		b = fragment(b, packet.TypeMessage, packet.FlagNext, 2, second[200:])
		b = message(b, 1, 4, '4')
		b = fragment(b, packet.TypeMessage, packet.FlagNext, 1, first[200:])
		b = message(b, 1, 5, '5')
		a.mustSend(b, "messages between the fragments of others")
		for _, want := range "32415" {
			require.Equal(t, string(want), arrived(t, got, "a message")[:1])
		}
		a.wait(packet.TypeAck, 5, "an ack of each message")
		s.wantService("after the attack")
	})
}

// Packets of different types may have the same number and be unfinished at the same time.
func TestOneNumberForPacketsOfSeveralTypes(t *testing.T) {
	const size = 20 << 10
	results, got := make(chan string, 1), make(chan string, 1)
	w := receivingServer(got)
	receive := w.serve
	w.serve = func(end geminio.End) {
		receive(end)
		go func() {
			resp, err := end.Call(context.Background(), "ask", end.NewRequest(nil))
			if err == nil {
				results <- fmt.Sprint(len(resp.Data()))
			}
		}()
	}
	inBubble(t, w, func(t *testing.T, s *targetServer) {
		a := s.attack().startReading()
		defer a.leave()
		asked := a.wait(packet.TypeRequest, 1, "the request of the server")
		number := uint64(asked[7])
		require.NotZero(t, number)
		response := append((&packet.Response{}).Append(nil), make([]byte, size)...)
		question := request(nil, 1, number, "echo", make([]byte, size)...)[packet.HeaderLen+8:]
		news := message(nil, 1, number, make([]byte, size)...)[packet.HeaderLen+8:]
		parts := map[packet.Type][]byte{packet.TypeResponse: response, packet.TypeRequest: question, packet.TypeMessage: news}
		var b []byte
		for typ, body := range parts {
			b = frame(b, typ, uint32(len(body)), 1, number, body[:1000])
		}
		for typ, body := range parts {
			b = fragment(b, typ, packet.FlagNext, number, body[1000:])
		}
		a.mustSend(b, "three unfinished packets")
		require.Equal(t, fmt.Sprint(size), arrived(t, results, "the response"))
		require.Len(t, arrived(t, got, "the message"), size)
		a.wait(packet.TypeAck, 1, "the ack")
		a.until(func() bool { return a.counts[packet.TypeResponse] > 0 })
		require.False(t, a.over())
		s.wantService("after the attack")
	})
}

// An answer on another stream than its question is a violation.
func TestAnswersOnAnotherStream(t *testing.T) {
	w := serverSetup{serve: func(end geminio.End) {
		go end.Call(context.Background(), "ask", end.NewRequest(nil))
		go end.Publish(context.Background(), end.NewMessage(nil))
		go end.Register(context.Background(), "method", func(context.Context, geminio.Request, geminio.Response) {})
	}}
	for name, test := range map[string]struct {
		of   packet.Type // the packet of the server that the peer answers
		send func(number uint64) []byte
	}{
		"response":   {packet.TypeRequest, func(n uint64) []byte { return frame(nil, packet.TypeResponse, 0, 3, n, make([]byte, 12)) }},
		"ack":        {packet.TypeMessage, func(n uint64) []byte { return frame(nil, packet.TypeAck, 0, 3, n, make([]byte, 4)) }},
		"registered": {packet.TypeRegister, func(n uint64) []byte { return frame(nil, packet.TypeRegistered, 0, 3, n, make([]byte, 4)) }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, w, func(t *testing.T, s *targetServer) {
				a := s.attack().startReading()
				defer a.leave()
				a.mustSend(open(nil, 3, nil), "another stream")
				a.wait(packet.TypeAccept, 1, "the acceptance of the stream")
				number := binary.BigEndian.Uint64(a.wait(test.of, 1, "the packet of the server"))
				a.mustSend(test.send(number), "an answer on the other stream")
				a.wantViolation("an answer on the other stream", " is of stream 1, and comes on 3")
				s.wantService("after the attack")
			})
		})
	}
}
