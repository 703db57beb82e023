package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/test/gauge"
)

// bundle is one connection, both of its Ends, and very many streams on it.
type bundle struct {
	opener, acceptor geminio.End
	streams          []both
	before           gauge.Usage // the usage of both Ends without streams
	verdict          verdict
}

// both has both sides of a stream.
type both struct{ opened, accepted geminio.Stream }

// runStreams opens very many streams on one connection, measures them, moves bytes over
// some of them, and measures the remaining memory after they are closed.
func runStreams(ctx context.Context, l load, b bounds) error {
	fmt.Printf("%d streams on one connection, both sides in one process\n", l.streams)
	debug.FreeOSMemory() // returns free memory to the system, so that the resident memory is that of the streams
	none := gauge.Take()
	n, err := newBundle(l.streams)
	if err != nil {
		return err
	}
	n.before = gauge.Settle(gauge.Patience, quiet(none, 2)) // the reading goroutines
	if err := n.run(ctx, l, b); err != nil {
		n.verdict.fail("streams: %w", err)
	}
	n.close()
	n.verdict.rest("left with the connection", l.streams, gauge.Settle(gauge.Patience, quiet(none, 0)).Since(none), b.leftOfStream)
	return n.verdict.err()
}

// newBundle makes a connection with limits for a number of streams that are open or wait
// to be accepted; by default both limits are 1024. The opener needs the same limit as the
// acceptor, since its memory budget must have room for the windows of the streams that it
// opens; the default budget depends on the number of streams.
func newBundle(streams int) (*bundle, error) {
	so, co := server.NewEndOptions(), client.NewEndOptions()
	so.SetMaxStreams(streams)
	so.SetAcceptBacklog(streams)
	co.SetMaxStreams(streams)
	l, err := server.Listen("tcp", "127.0.0.1:0", so)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	opener, err := client.NewEnd("tcp", l.Addr().String(), co)
	if err != nil {
		return nil, err
	}
	acceptor, err := l.AcceptEnd()
	if err != nil {
		opener.Close()
		return nil, err
	}
	return &bundle{opener: opener, acceptor: acceptor}, nil
}

func (n *bundle) run(ctx context.Context, l load, b bounds) error {
	start := time.Now()
	if err := n.open(l.streams); err != nil {
		return err
	}
	took := time.Since(start)
	fmt.Printf("  opened one by one in %v\n", took.Round(time.Millisecond))
	n.verdict.share("all are idle", l.streams, n.quiet(), b.perStream, 0)
	if err := n.try(ctx, l.echoes); err != nil {
		return err
	}
	n.verdict.share("idle again", l.streams, n.quiet(), b.perStream, 0)
	if err := n.closeStreams(); err != nil {
		return err
	}
	n.verdict.rest("left of the streams", l.streams, n.quiet(), b.leftOfStream)
	return nil
}

// quiet returns the usage for the streams when no operation is under way.
func (n *bundle) quiet() gauge.Usage {
	return gauge.Settle(gauge.Patience, quiet(n.before, 0)).Since(n.before)
}

// open opens n streams. The acceptor accepts them in the same order.
func (n *bundle) open(streams int) error {
	n.streams = make([]both, streams)
	accepted := make(chan error, 1)
	go func() { accepted <- n.accept() }()
	for i := range n.streams {
		var err error
		if n.streams[i].opened, err = n.opener.OpenStream(); err != nil {
			n.acceptor.Close() // ends the wait for the other streams
			<-accepted
			return fmt.Errorf("to open stream %d: %w", i, err)
		}
	}
	if err := <-accepted; err != nil {
		return err
	}
	for i, s := range n.streams {
		if s.opened.StreamID() != s.accepted.StreamID() {
			return fmt.Errorf("stream %d was accepted in place of %d, the one that was opened as number %d",
				s.accepted.StreamID(), s.opened.StreamID(), i)
		}
	}
	return nil
}

func (n *bundle) accept() error {
	for i := range n.streams {
		var err error
		if n.streams[i].accepted, err = n.acceptor.AcceptStream(); err != nil {
			return fmt.Errorf("to accept stream %d: %w", i, err)
		}
	}
	return nil
}

// try moves bytes in both directions over some of the streams, and leaves them open.
func (n *bundle) try(ctx context.Context, some int) error {
	chosen := rand.Perm(len(n.streams))[:min(some, len(n.streams))]
	err := inTurns(len(chosen), func(i int) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return n.streams[chosen[i]].exchange()
	})
	if err == nil {
		fmt.Printf("  %d of them carried bytes there and back\n", len(chosen))
	}
	return err
}

// exchange moves bytes in both directions. They may be more than the stream's window, so
// each side reads while the other writes.
func (s both) exchange() error {
	limit := time.Now().Add(tooLong)
	s.opened.SetDeadline(limit)
	s.accepted.SetDeadline(limit)
	defer s.opened.SetDeadline(time.Time{})
	defer s.accepted.SetDeadline(time.Time{})
	data := bytes.Repeat([]byte{byte(rand.Uint32())}, 1+rand.IntN(4000))
	there, back := make([]byte, len(data)), make([]byte, len(data))
	errs := make([]error, 3)
	var wg sync.WaitGroup
	wg.Go(func() { _, errs[0] = s.opened.Write(data) })
	wg.Go(func() {
		if _, errs[1] = io.ReadFull(s.accepted, there); errs[1] == nil {
			_, errs[1] = s.accepted.Write(there)
		}
	})
	wg.Go(func() { _, errs[2] = io.ReadFull(s.opened, back) })
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("other bytes came back on stream %d", s.opened.StreamID())
	}
	return nil
}

// closeStreams closes all streams, on both sides.
func (n *bundle) closeStreams() error {
	err := inTurns(len(n.streams), func(i int) error {
		s := n.streams[i]
		return errors.Join(s.opened.Close(), s.accepted.Close())
	})
	n.streams = nil
	return err
}

// close ends the connection.
func (n *bundle) close() {
	n.opener.Close()
	n.acceptor.Close()
	n.opener, n.acceptor, n.streams = nil, nil, nil
}
