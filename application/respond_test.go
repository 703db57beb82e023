package application

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/packet"
	"github.com/singchia/geminio/test/kit"
)

// writePacket writes a packet in one frame of the default stream.
func writePacket(t *testing.T, peer net.Conn, typ packet.Type, call uint64, body []byte) {
	t.Helper()
	b := packet.AppendHeader(nil, packet.Header{Type: typ, Stream: 1, Length: uint32(8 + len(body))})
	b = packet.AppendFragmentHeader(b, packet.FragmentHeader{Seq: call}, 0)
	_, err := peer.Write(append(b, body...))
	require.NoError(t, err)
}

// readAnswers reads frames until none arrives for a second. It returns the answer to each
// call by its number: the code, or -1 for an Abandon. It fails if a call has two answers.
func readAnswers(t *testing.T, peer net.Conn) (answers map[uint64]int, bytes int) {
	t.Helper()
	answers = make(map[uint64]int)
	codes := make(map[uint64]int)
	answer := func(call uint64, code int) {
		_, twice := answers[call]
		require.False(t, twice, "call %d has two answers", call)
		answers[call] = code
	}
	for {
		peer.SetReadDeadline(time.Now().Add(time.Second))
		h, payload, err := kit.ReadFrame(peer, kit.AnyFrame)
		if err != nil {
			return answers, bytes
		}
		bytes += len(payload)
		if h.Type != packet.TypeResponse && h.Type != packet.TypeAbandon {
			continue
		}
		f, err := packet.ParseFragmentHeader(payload, h)
		require.NoError(t, err)
		body := payload[packet.FragmentHeaderLen(h):]
		switch {
		case h.Type == packet.TypeAbandon:
			assert.Equal(t, []byte{byte(packet.TypeResponse)}, body)
			require.Contains(t, codes, f.Seq, "it had begun")
			answer(f.Seq, -1)
		case h.Flags&packet.FlagNext == 0:
			r, err := packet.ParseResponse(body)
			require.NoError(t, err)
			codes[f.Seq] = int(r.Code)
			fallthrough
		default:
			if h.Flags&packet.FlagMore == 0 {
				answer(f.Seq, codes[f.Seq])
			}
		}
	}
}

// The responses of canceled calls are not sent, whether their handlers still run, they
// wait for credit, they are queued or they are half sent. Each request has one answer.
func TestResponsesThatNobodyAwaitsAreNotSent(t *testing.T) {
	for _, test := range []struct {
		name  string
		code  geminio.Code
		early bool // cancelled while the handlers run
	}{
		{"cancelled early", geminio.CodeCanceled, true},
		{"cancelled late", geminio.CodeCanceled, false},
		{"out of time", geminio.CodeDeadline, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			withPeer(t, func(t *testing.T, e *End, peer net.Conn) {
				release := make(chan struct{})
				e.methods().served.set("big", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
					<-release
					resp.SetData(make([]byte, 1<<20-100))
				})
				const calls = 50 // of whose responses 4 have credit
				for call := range uint64(calls) {
					writePacket(t, peer, packet.TypeRequest, call+1, requestBody("big"))
				}
				synctest.Wait()
				cancel := func() {
					for call := range uint64(calls) {
						a := packet.Answer{Code: uint32(test.code), Text: "enough"}
						writePacket(t, peer, packet.TypeCancel, call+1, a.Append(nil))
					}
				}
				if test.early {
					cancel()
				}
				synctest.Wait()
				close(release)
				synctest.Wait() // the first response is being written, and the peer does not read
				if !test.early {
					assert.NotZero(t, e.serving.n.Load(), "requests whose responses wait for credit")
					cancel()
				}
				synctest.Wait()
				assert.Zero(t, e.serving.n.Load(), "requests that are being served")
				answers, bytes := readAnswers(t, peer)
				assert.Len(t, answers, calls, "each is answered")
				short := 0
				for call, code := range answers {
					if code == int(test.code) {
						short++
						continue
					}
					assert.Contains(t, []int{0, -1}, code, "call %d", call)
					_, err := peer.Write(packet.AppendCredit(nil, 0, packet.Credit{Class: packet.ClassLargeResponses, Amount: 1<<20 - 100 + 12}))
					require.NoError(t, err, "for a response that was sent, or begun")
				}
				assert.GreaterOrEqual(t, short, calls-4)
				assert.Less(t, bytes, 1<<20, "bytes in the transport, and empty responses")
				if test.early {
					assert.Equal(t, calls, short)
				}

				// Nothing of the credit was lost.
				for call := range uint64(4) {
					writePacket(t, peer, packet.TypeRequest, 1000+call, requestBody("big"))
				}
				answers, bytes = readAnswers(t, peer)
				assert.Equal(t, map[uint64]int{1000: 0, 1001: 0, 1002: 0, 1003: 0}, answers)
				assert.Greater(t, bytes, 4*(1<<20-100))
			})
		})
	}
}

// Responses wait for credit as long as their callers wait. A Cancel on another stream, or
// after the response, has no effect.
func TestResponsesThatAreAwaitedAreSent(t *testing.T) {
	withPair(t, nil, nil, func(t *testing.T, client, server *End) {
		register(t, server, "big", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
			resp.SetData(make([]byte, 1<<20-100))
		})
		done := make(chan error, 50)
		for range cap(done) {
			go func() {
				resp, err := client.Call(context.Background(), "big", client.NewRequest(nil))
				if err == nil && len(resp.Data()) != 1<<20-100 {
					err = io.ErrUnexpectedEOF
				}
				done <- err
			}()
		}
		near, _ := openPair(t, client, server)
		for call := range uint64(60) {
			require.NoError(t, near.d.Post(packet.TypeCancel, call, make([]byte, 4)))
		}
		for range cap(done) {
			require.NoError(t, <-done)
		}
	})
}

// A call whose response the peer abandons ends.
func TestAbandonedResponse(t *testing.T) {
	withPeer(t, func(t *testing.T, e *End, peer net.Conn) {
		called := make(chan error, 1)
		go func() { called <- call(context.Background(), e, "m") }()
		h, payload, err := kit.ReadFrame(peer, kit.AnyFrame)
		require.NoError(t, err)
		require.Equal(t, packet.TypeRequest, h.Type)
		f, err := packet.ParseFragmentHeader(payload, h)
		require.NoError(t, err)

		b := packet.AppendHeader(nil, packet.Header{Type: packet.TypeResponse, Flags: packet.FlagMore, Stream: 1, Length: uint32(packet.FragmentLen + 100)})
		b = packet.AppendFragmentHeader(b, packet.FragmentHeader{Seq: f.Seq, Total: 100_000}, packet.FlagMore)
		_, err = peer.Write(append(b, make([]byte, 100)...))
		require.NoError(t, err)
		writePacket(t, peer, packet.TypeAbandon, f.Seq, []byte{byte(packet.TypeResponse)})
		assert.ErrorIs(t, <-called, context.Canceled)
		assert.True(t, e.pending.empty())
	})
}
