package conn

// This file has the server identify a client during the handshake, and notice meanwhile that the
// client has gone.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/internal/guard"
	"github.com/singchia/geminio/packet"
)

// errEarly is why a client is not served that sends frames before the answer.
var errEarly = &packet.Error{What: "conn", Reason: "the client has sent more before the answer"}

// identification is the result of Config.Identify for one handshake.
type identification struct {
	done bool // Identify has accepted the client
	id   uint64
}

// identify calls Config.Identify, unless it has accepted the client already. If identify returns
// an error, the client was refused.
func (c *Conn) identify(over <-chan struct{}, hello *packet.Conn, i *identification, resumes bool) error {
	cfg := c.cfg
	if cfg.Identify == nil || i.done {
		return nil
	}
	// The client gets an answer before the time of the handshake ends.
	limit := cfg.HandshakeTimeout * 3 / 4
	ctx, cancel := context.WithDeadline(context.Background(), c.start.Add(limit))
	defer cancel()
	result := make(chan error, 1)
	go func() {
		id, err := cfg.Identify(ctx, c, hello.ClientID, resumes)
		i.id = id
		result <- err
	}()
	var gone <-chan error
	stop := func() {}
	if cfg.Watch && hello.Settings != nil {
		gone, stop = c.link.watch(over)
	}
	err, refuse := error(nil), true
	select {
	case err = <-result:
		stop()
		if err == nil {
			select {
			case err = <-gone:
				refuse = false
			default:
			}
		}
	case err = <-gone:
		refuse = false
		cancel()
		<-result
	case <-over:
		refuse, err = false, errOver
		cancel()
		<-result
	case <-ctx.Done():
		stop()
		err = c.refuseSlow(over, hello, limit)
		c.link.close(closeGrace) // not later: the callback may not return soon
		<-result
		return err
	}
	switch {
	case err == nil:
		i.done = true
		return nil
	case !refuse:
		return err
	case ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		return c.refuseSlow(over, hello, limit)
	}
	return c.refuse(over, *hello, guard.Describe(cfg.Log, err), err)
}

// refuseSlow refuses a client because Config.Identify takes too long.
func (c *Conn) refuseSlow(over <-chan struct{}, hello *packet.Conn, limit time.Duration) error {
	text := fmt.Sprintf("the server has not identified the client after %v", limit)
	err := fmt.Errorf("%s: %w", text, context.DeadlineExceeded)
	return c.refuse(over, *hello, packet.Reason{Code: uint32(geminio.CodeDeadline), Text: text}, err)
}

// earlyRead is a Read of one byte that has begun before the transport is in use.
type earlyRead struct {
	done chan struct{} // closed when the Read has returned
	b    [1]byte
	n    int
	err  error
}

// watch reads from the transport although the peer must not send anything yet. gone gets an error
// if the transport ends, or if the peer sends a byte. The caller calls stop before it reads, and
// looks at gone once more after that.
//
// The Read of a socket ends at once. Other transports may not support deadlines, so stop leaves
// the Read to the next caller of link.read.
func (l *link) watch(over <-chan struct{}) (gone <-chan error, stop func()) {
	e := &earlyRead{done: make(chan struct{}), err: errors.New("transport: runtime.Goexit was called")}
	result := make(chan error, 1)
	go func() {
		defer close(e.done)
		defer func() {
			switch {
			case e.n > 0:
				result <- errEarly
			case !errors.Is(e.err, os.ErrDeadlineExceeded):
				result <- noEOF(e.err)
			}
		}()
		e.n, e.err = (&patientReader{l, l.readNow, over}).Read(e.b[:])
	}()
	if l.prompt() {
		return result, func() {
			l.nc.SetReadDeadline(time.Unix(0, 0))
			<-e.done
			l.nc.SetReadDeadline(time.Time{})
		}
	}
	return result, func() {
		select {
		case <-e.done:
		default:
			l.early = e
		}
	}
}

// take returns the byte or the error of the Read, when it has returned.
func (e *earlyRead) take(p []byte) (int, error) {
	<-e.done
	if e.n > 0 {
		p[0] = e.b[0]
		return 1, nil
	}
	if e.err == nil {
		return 0, io.ErrNoProgress
	}
	return 0, e.err
}
