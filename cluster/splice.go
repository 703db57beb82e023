package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
)

// copySize is the size of the buffer of each direction of a spliced stream.
const copySize = 32 << 10

// splice makes two streams one, for their peers: bytes, calls and messages pass in both directions, and so
// do the end of a direction, CloseRead, Close and Reset with its code and text. Each direction holds at most
// copySize bytes besides the windows of the streams, and reads nothing while its writer waits for
// credit. splice returns when both streams have ended.
//
// The caller has passed the calls of both streams on with forwardCalls before.
//
// If ctx has ended, or if this program has closed the End of a stream, the received bytes are not complete,
// although Read returns io.EOF. The other stream is reset then.
func splice(ctx context.Context, a, b geminio.Stream) {
	defer context.AfterFunc(ctx, func() { // a direction may wait for credit that does not come
		reset(a, geminio.CodeApplication, lostText)
		reset(b, geminio.CodeApplication, lostText)
	})()
	var all sync.WaitGroup
	all.Go(func() { pass(ctx, a, b) })
	all.Go(func() { pass(ctx, b, a) })
	all.Wait()
}

// lostHere reports whether a stream has ended because of this program, and not in an orderly way.
func lostHere(ctx context.Context, s geminio.Stream) bool {
	end, ok := geminio.EndOf(s)
	return ctx.Err() != nil || ok && geminio.Cause(end) == io.EOF
}

// pass passes bytes and messages from one stream to another, until from has ended. Then it closes to,
// behind the bytes. If from has not ended in an orderly way, it does not wait until the reader of to takes
// them.
func pass(ctx context.Context, to, from geminio.Stream) {
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		passBytes(ctx, to, from)
	}()
	var answers sync.WaitGroup
	passMessages(to, from, &answers) // returns when from has ended
	select {
	case <-copied:
	default:
		if e := broken(ctx, from); e != nil {
			reset(to, e.Code, e.Text)
		}
		<-copied
	}
	if lostHere(ctx, from) {
		reset(to, geminio.CodeApplication, lostText)
	}
	to.Close() // also ends the messages without an answer
	answers.Wait()
}

// broken returns why a stream has ended, or nil if it has ended in an orderly way. Read would return the
// bytes that have arrived first. If the peer has called CloseRead before a reset, broken does not see the reset.
func broken(ctx context.Context, s geminio.Stream) *geminio.StreamError {
	if lostHere(ctx, s) {
		return &geminio.StreamError{Code: geminio.CodeApplication, Text: lostText}
	}
	_, err := s.Write(nil)
	if e, ok := errors.AsType[*geminio.StreamError](err); ok && saysWhy(e) {
		return e
	}
	if errors.Is(err, geminio.ErrConnectionLost) {
		return &geminio.StreamError{Code: geminio.CodeApplication, Text: lostText + ": " + err.Error()}
	}
	return nil
}

// saysWhy reports whether an error of Write is that of a reset. The peer has called CloseRead otherwise.
func saysWhy(e *geminio.StreamError) bool { return e.Code != 0 || e.Text != "" }

// lostText is the text of the resets of streams whose node has left.
const lostText = "the node was lost"

// passBytes passes bytes until one of the streams no longer carries them.
func passBytes(ctx context.Context, to, from geminio.Stream) {
	buf := make([]byte, copySize)
	for {
		n, err := from.Read(buf)
		if _, err := to.Write(buf[:n]); err != nil {
			if e, ok := errors.AsType[*geminio.StreamError](err); ok && saysWhy(e) {
				reset(from, e.Code, e.Text)
			} else { // the peer of to reads no more
				geminio.CloseRead(from)
			}
			return
		}
		if err == io.EOF && !lostHere(ctx, from) {
			geminio.CloseWrite(to)
			return
		}
		if err != nil {
			e, ok := errors.AsType[*geminio.StreamError](err)
			if !ok {
				e = &geminio.StreamError{Code: geminio.CodeApplication, Text: lostText + ": " + err.Error()}
			}
			reset(to, e.Code, e.Text)
			return
		}
	}
}

// reset resets a stream with a code, or with CodeApplication if an application cannot choose the code.
func reset(s geminio.Stream, code geminio.Code, text string) {
	if err := geminio.Reset(s, code, text); err != nil && err != net.ErrClosed {
		geminio.Reset(s, geminio.CodeApplication, text)
	}
}

// passMessages passes messages in their order, until from has ended. Each message is answered when the
// receiver has answered it, or when to has ended, by a goroutine of answers. Its publisher waits for credit of
// the receiver.
func passMessages(to, from geminio.Stream, answers *sync.WaitGroup) {
	for {
		m, err := from.Receive(context.Background())
		if err != nil {
			return
		}
		opt := options.NewMessage()
		opt.SetCustom(m.Custom())
		opt.SetTopic(m.Topic())
		opt.SetCnss(m.Cnss())
		ctx := context.Background()
		if md := metadata.From(m); md != nil {
			ctx = metadata.NewOutgoingContext(ctx, md)
		}
		p, err := to.PublishAsync(ctx, to.NewMessage(m.Data(), opt), nil)
		if err != nil {
			answerMessage(m, err)
			continue
		}
		answers.Go(func() {
			<-p.Done
			answerMessage(m, p.Error)
		})
	}
}

// answerMessage answers a message with the result of its copy. If the stream of the copy has ended, the
// message gets no answer: its own stream ends too, which tells its publisher that the outcome is not known.
func answerMessage(m geminio.Message, err error) {
	if err == nil {
		m.Done()
	} else if !hasEnded(err) {
		m.Error(err)
	}
}

// hasEnded reports whether an operation has failed because its stream has ended.
func hasEnded(err error) bool {
	_, interrupted := errors.AsType[*geminio.InterruptedError](err)
	return interrupted || err == io.EOF
}

// forwardCalls has the calls of the peer of from made on to.
func forwardCalls(to, from geminio.Stream) error {
	return from.Hijack(func(ctx context.Context, method string, req geminio.Request, resp geminio.Response) {
		opt := options.NewRequest()
		opt.SetCustom(req.Custom())
		out := ctx
		if md, ok := metadata.FromIncomingContext(ctx); ok {
			out = metadata.NewOutgoingContext(ctx, md)
		}
		got, err := to.Call(out, method, to.NewRequest(req.Data(), opt))
		if err != nil && hasEnded(err) {
			<-ctx.Done() // from ends too, which tells the caller that the outcome is not known
			return
		}
		if got != nil {
			resp.SetData(got.Data())
			resp.SetCustom(got.Custom())
			metadata.SetOutgoing(ctx, metadata.From(got))
		}
		if err != nil {
			resp.SetError(err)
		}
	})
}
