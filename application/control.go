package application

import (
	"context"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/conn"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/packet"
)

// Control is an End as packages client and server see it. It has the methods that they
// need and that the End does not show to its users. A *End converts to a *Control.
type Control End

// Conn returns the connection.
func (c *Control) Conn() *conn.Conn { return c.c }

const (
	// endBytes is the memory of an End without its streams, methods and stored
	// bytes.
	endBytes = 12 << 10
	// methodBytes is the memory of a method of the peer without its name.
	methodBytes = 64
)

// Held returns how many bytes the End holds. The memory of the user's handlers and
// callbacks is not counted.
func (c *Control) Held() int {
	s := c.c.SessionStats()
	n := endBytes + c.mux.Held() + len(c.c.Meta()) + int(s.Logged+s.Buffered)
	n += int(c.remoteMethods.Load())*methodBytes + int(c.remoteNameBytes.Load())
	if d := c.cfg.Deliveries; d != nil {
		n += d.size()
	}
	return n
}

// CloseWith closes the End for a cause, and sends the reason to the peer. It does not wait.
func (c *Control) CloseWith(cause error, reason packet.Reason) { c.mux.Close(cause, reason) }

// Unused reports whether this side has no call, message, handler or stream under way, as far as
// this side knows. Frames that are to be sent, and frames that are about to arrive, do not count.
func (c *Control) Unused() bool {
	return c.pending.empty() && c.serving.n.Load() == 0 && c.unanswered.Load() == 0 && len(c.mux.Dialogues()) <= 1
}

// PostHook has f called as one of the hooks, unless Offline was posted already. The log uses
// name as the name of f.
func (c *Control) PostHook(name string, f func()) { c.events.post(name, f) }

// DoCall is Call on the default stream without the checks of the arguments. A timeout of 0
// stands for none. A client.RetryEnd calls DoCall once for each attempt.
func (c *Control) DoCall(ctx context.Context, method string, req geminio.Request, timeout time.Duration) (geminio.Response, error) {
	return c.doCall(ctx, 0, method, req, timeout)
}

// StartCall is DoCall without the wait for the response. It calls done with the outcome; done
// must not block. StartCall waits for the credit that the request needs. If it returns an
// error, it does not call done.
func (c *Control) StartCall(ctx context.Context, method string, req geminio.Request, timeout time.Duration, done func(geminio.Response, error)) error {
	return c.startCall(ctx, method, req, timeout, done)
}

// DoPublish is Publish on the default stream without the checks of the arguments. A timeout of
// 0 stands for none. A client.RetryEnd calls DoPublish once for each attempt, with the number of
// the delivery, or 0 for a message that is not sent again.
func (c *Control) DoPublish(ctx context.Context, number uint64, msg geminio.Message, timeout time.Duration) error {
	return c.doPublish(ctx, number, msg, timeout)
}

// StartPublish is DoPublish without the wait for the answer. It calls done with the outcome;
// done must not block. StartPublish waits for the credit that the message needs. If it returns
// an error, it does not call done.
func (c *Control) StartPublish(ctx context.Context, number uint64, msg geminio.Message, timeout time.Duration, done func(error)) error {
	return c.startPublish(ctx, number, msg, timeout, done)
}

// Receive is Receive of the default stream without middleware.
func (c *Control) Receive(ctx context.Context) (geminio.Message, error) { return c.receive(ctx) }

// OpenStream is OpenStreamContext without middleware.
func (c *Control) OpenStream(ctx context.Context, opts ...*options.OpenStreamOptions) (geminio.Stream, error) {
	return (*End)(c).openStream(ctx, opts...)
}

// Prepare calls f, the function of SetPrepareFunc, before Begin. It returns an error if f refuses
// the connection. When over is closed, operations that f waits for return.
func (c *Control) Prepare(f func(geminio.End) error, over <-chan struct{}) error {
	return (*End)(c).prepare(f, over)
}

// Announce reports the connection to the Observer. The caller calls it once, when the handshake is
// done, and Begin next.
func (c *Control) Announce() { (*End)(c).announce() }

// Begin has the End carry calls, messages and streams.
func (c *Control) Begin() { (*End)(c).begin() }

// BeginAndExchange is Announce, Begin and ExchangeMethods. On an error it closes the End.
func (c *Control) BeginAndExchange(ctx context.Context) error {
	c.Announce()
	c.Begin()
	return (*End)(c).exchangeOrClose(ctx)
}

// Methods returns the names of the methods of the default stream.
func (c *Control) Methods() []string { return c.ownMethods() }

// Abandon takes the place of Begin if the handshake has failed.
func (c *Control) Abandon(cause error) { (*End)(c).neverBegin(cause) }

// ExchangeMethods registers the local methods of the Config with the peer and waits for its
// remote methods, at most until ctx ends.
func (c *Control) ExchangeMethods(ctx context.Context) error { return (*End)(c).exchangeMethods(ctx) }
