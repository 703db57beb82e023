package attack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/server"
)

// answer returns the body of an ack, a registered or a cancel.
func answer(code geminio.Code, text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(code)), text...)
}

// notice returns a frame with a code and a text. It does not shorten the text.
func notice(typ packet.Type, stream uint64, text string) []byte {
	b := packet.AppendHeader(nil, packet.Header{Type: typ, Stream: stream, Length: uint32(8 + len(text))})
	return append(append(b, make([]byte, 8)...), text...)
}

// A peer sends texts above the limit. The error names the packet and the limit.
func TestTextsAreCutByTheirSender(t *testing.T) {
	text := strings.Repeat("x", 1001)
	for name, b := range map[string][]byte{
		"ack":        frame(nil, packet.TypeAck, 0, 1, 1, answer(1, text)),
		"registered": frame(nil, packet.TypeRegistered, 0, 1, 1, answer(1, text)),
		"cancel":     frame(nil, packet.TypeCancel, 0, 1, 1, answer(2, text)),
		"stop":       notice(packet.TypeStop, 1, text[:513]),
		"goaway":     notice(packet.TypeGoAway, 0, text[:513]),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
				a := s.attack().startReading()
				defer a.leave()
				a.mustSend(b, "a text above the limit")
				a.wantViolation("a text above the limit", "malformed "+name+": length ", " exceeds ")
			})
		})
	}
	t.Run("a text of the limit", func(t *testing.T) {
		acks := make(chan error, 10)
		w := serverSetup{serve: func(end geminio.End) {
			go func() { acks <- end.Publish(context.Background(), end.NewMessage(nil)) }()
		}}
		inBubble(t, w, func(t *testing.T, s *targetServer) {
			a := s.attack().startReading()
			defer a.leave()
			number := binary.BigEndian.Uint64(a.wait(packet.TypeMessage, 1, "a message"))
			a.mustSend(notice(packet.TypeStop, 1, text[:512]), "stop")
			a.mustSend(frame(nil, packet.TypeAck, 0, 1, number, answer(1, text[:1000])), "ack")
			wantError(t, acks, text[:1000])
			require.False(t, a.over())
		})
	})
}

// wantError receives errors until one contains the text. The errors before it are those of
// clients that do not answer.
func wantError(t *testing.T, errs <-chan error, text string) {
	t.Helper()
	for {
		if err := arrived(t, errs, text); err != nil && err.Error() == text {
			return
		}
	}
}

// Names and texts of a peer may be invalid UTF-8. The application gets them unchanged.
func TestTextsNeedNotBeUTF8(t *testing.T) {
	const odd = "\xff\xfe odd \x80"
	got, acks := make(chan geminio.Message, 1), make(chan error, 10)
	peers, methods := make(chan string, 1), make(chan string, 1)
	w := serverSetup{
		options: func(o *server.EndOptions) {
			o.SetAcceptStreamFunc(func(stream geminio.Stream) { peers <- stream.Peer() })
		},
		serve: func(end geminio.End) {
			go end.Register(context.Background(), odd, func(_ context.Context, req geminio.Request, _ geminio.Response) { methods <- req.Method() })
			go func() {
				if msg, err := end.Receive(context.Background()); err == nil {
					got <- msg
				}
			}()
			go func() { acks <- end.Publish(context.Background(), end.NewMessage(nil)) }()
		},
	}
	inBubble(t, w, func(t *testing.T, s *targetServer) {
		a := s.attack().startReading()
		defer a.leave()
		number := binary.BigEndian.Uint64(a.wait(packet.TypeMessage, 1, "a message"))
		a.mustSend(frame(nil, packet.TypeAck, 0, 1, number, answer(1, odd)), "ack")
		wantError(t, acks, odd)
		m := packet.Message{Cnss: 1, Topic: []byte(odd)}
		a.mustSend(frame(nil, packet.TypeMessage, 0, 1, 0, m.Append(nil)), "message")
		require.Equal(t, odd, arrived(t, got, "a message").Topic())
		require.Equal(t, odd, string(a.wait(packet.TypeRegister, 1, "a method")[8:]))
		a.mustSend(request(nil, 1, 1, odd), "request")
		require.Equal(t, odd, arrived(t, methods, "a call"))
		a.mustSend(packet.AppendOpen(nil, 3, packet.Open{Windows: packet.Windows{Raw: 1, Messages: 1 << 30}, Peer: odd}), "open")
		require.Equal(t, odd, arrived(t, peers, "a stream"))
		a.mustSend(notice(packet.TypeReset, 3, odd), "reset")
		a.mustSend(notice(packet.TypeClose, 0, odd), "close")
		a.wantEnd("an end in order")
	})
}

// A response that is longer than its caller allows is replaced by an error.
func TestResponseAboveTheLimitOfTheCaller(t *testing.T) {
	inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		w := offer()
		w.MaxMessage, w.Large = 30_000, 40_000
		a := s.attackOffering(w, nil).startReading()
		defer a.leave()
		for i, test := range []struct {
			size int
			code geminio.Code
		}{{30_000, 0}, {30_021, geminio.CodeTooLarge}, {100, 0}} {
			a.mustSend(request(nil, 1, uint64(i+1), "echo", make([]byte, test.size)...), "a call")
			p := a.wait(packet.TypeResponse, i+1, "the response")
			if len(p) < 12 || test.size > 100 && test.code == 0 {
				continue // a fragment
			}
			r, err := packet.ParseResponse(p[8:])
			require.NoError(t, err)
			require.Equal(t, test.code, geminio.Code(r.Code), "%d bytes", test.size)
		}
	})
}

// The callee cancels the context of a handler at the timeout of the request, even if the
// caller sends no cancel.
func TestHandlerEndsWithItsTimeout(t *testing.T) {
	inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		a := s.attack().startReading()
		defer a.leave()
		start := time.Now()
		r := packet.Request{Method: []byte("hang"), Timeout: 1500 * time.Millisecond}
		a.mustSend(frame(nil, packet.TypeRequest, 0, 1, 1, r.Append(nil)), "a call with a timeout of 1.5 s")
		a.wait(packet.TypeResponse, 1, "it is answered all the same")
		require.Equal(t, 1500*time.Millisecond, time.Since(start))
	})
}

// A cancel that arrives before the last fragment of its request is ignored.
func TestCancelBetweenFragments(t *testing.T) {
	inBubble(t, serverSetup{}, func(t *testing.T, s *targetServer) {
		a := s.attack().startReading()
		defer a.leave()
		body := request(nil, 1, 1, "echo", make([]byte, 20<<10)...)[packet.HeaderLen+8:]
		b := frame(nil, packet.TypeRequest, uint32(len(body)), 1, 1, body[:1000])
		b = cancel(b, 1, 1)
		b = frame(b, packet.TypeRequest, uint32(len(body)), 1, 2, body[:1000])
		b = frame(b, packet.TypeAbandon, 0, 1, 2, []byte{byte(packet.TypeRequest)})
		b = cancel(b, 1, 2)
		b = fragment(b, packet.TypeRequest, packet.FlagNext, 1, body[1000:])
		a.mustSend(b, "a request with a cancel before its last fragment, and an abandoned request")
		p := a.wait(packet.TypeResponse, 1, "the response to the first request")
		require.EqualValues(t, 1, binary.BigEndian.Uint64(p))
		synctest.Wait()
		require.Equal(t, 1, a.count(packet.TypeResponse), "responses; the abandoned request has none")
		s.wantService("after the attack")
	})
}

// An abandoned response is the answer to its call, and a further one is ignored.
func TestAbandonedResponse(t *testing.T) {
	results := make(chan error, 10)
	w := serverSetup{serve: func(end geminio.End) {
		go func() {
			_, err := end.Call(context.Background(), "ask", end.NewRequest(nil))
			var said *geminio.RemoteError
			if errors.As(err, &said) && said.Code != geminio.CodeNoMethod { // the answer of the well-behaved clients
				results <- err
			}
		}()
	}}
	inBubble(t, w, func(t *testing.T, s *targetServer) {
		a := s.attack()
		back := 0
		a.onCredit = func(_ uint64, c packet.Credit) {
			if c.Class == packet.ClassLargeResponses {
				back += int(c.Amount)
			}
		}
		a.startReading()
		defer a.leave()
		number := binary.BigEndian.Uint64(a.wait(packet.TypeRequest, 1, "the request of the server"))
		const total = 1 << 20
		head := (&packet.Response{}).Append(nil)
		b := frame(nil, packet.TypeResponse, total, 1, number, head)
		b = frame(b, packet.TypeAbandon, 0, 1, number, []byte{byte(packet.TypeResponse)})
		b = frame(b, packet.TypeResponse, 0, 1, number, append(head, "one too many"...))
		a.mustSend(b, "an abandoned response, and a further response")
		require.True(t, a.until(func() bool { return back == total }), "the credit of the abandoned response did not come back")
		require.ErrorIs(t, arrived(t, results, "the end of the call"), context.Canceled)
		require.False(t, a.over())
		s.wantService("after the attack")
	})
}

// A large response that waits for credit occupies the handler of its request.
func TestHandlerCreditOfAResponseThatWaits(t *testing.T) {
	const size = 20 << 10
	few := serverSetup{options: func(o *server.EndOptions) { o.SetMaxHandlers(2) }}
	inBubble(t, few, func(t *testing.T, s *targetServer) {
		w := offer()
		w.MaxMessage, w.Large = size, size+packet.MinLarge
		a := s.attackOffering(w, nil)
		back := make(map[packet.Class]int)
		a.onCredit = func(_ uint64, c packet.Credit) { back[c.Class] += int(c.Amount) }
		a.startReading()
		defer a.leave()
		for i := range uint64(2) {
			a.mustSend(request(nil, 1, i+1, "echo", make([]byte, size)...), "a call with a large response")
		}
		a.wait(packet.TypeResponse, 1, "the first response")
		synctest.Wait()
		handlers := func() int {
			a.mu.Lock()
			defer a.mu.Unlock()
			return back[packet.ClassHandlers]
		}
		require.Equal(t, 1, a.count(packet.TypeResponse))
		require.Equal(t, 1, handlers(), "handlers, while the response of the second one waits for credit")
		require.NoError(t, a.send(credit(0, packet.ClassLargeResponses, size+12)))
		a.wait(packet.TypeResponse, 2, "the second response")
		synctest.Wait()
		require.Equal(t, 2, handlers(), fmt.Sprint(back))
	})
}

// Unknown codes reach the application unchanged, and match no error of the library.
func TestCodesThatNobodyKnows(t *testing.T) {
	for _, code := range []geminio.Code{14, 999, geminio.FirstApplicationCode, 1<<32 - 1} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			results := make(chan error, 10)
			w := serverSetup{serve: func(end geminio.End) {
				go func() {
					_, err := end.Call(context.Background(), "ask", end.NewRequest(nil))
					results <- err
				}()
				go func() { results <- end.Publish(context.Background(), end.NewMessage(nil)) }()
			}}
			inBubble(t, w, func(t *testing.T, s *targetServer) {
				a := s.attack().startReading()
				defer a.leave()
				asked := binary.BigEndian.Uint64(a.wait(packet.TypeRequest, 1, "a call"))
				told := binary.BigEndian.Uint64(a.wait(packet.TypeMessage, 1, "a message"))
				r := packet.Response{Code: uint32(code), Text: "odd"}
				a.mustSend(frame(nil, packet.TypeResponse, 0, 1, asked, r.Append(nil)), "its response")
				a.mustSend(frame(nil, packet.TypeAck, 0, 1, told, answer(code, "odd")), "its ack")
				for odd := 0; odd < 2; {
					var said *geminio.RemoteError
					if errors.As(arrived(t, results, "an error"), &said) && said.Text == "odd" {
						require.Equal(t, code, said.Code)
						require.NotErrorIs(t, said, context.Canceled)
						require.NotErrorIs(t, said, geminio.ErrProtocol)
						odd++
					}
				}
				a.mustSend(notice(packet.TypeStop, 1, ""), "a stop frame on the same connection")
				s.wantService("after the attack")
			})
		})
	}
}
