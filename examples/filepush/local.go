package main

// Both sides in one process, over real TCP on the loopback interface.

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/singchia/geminio"
)

// local pushes the file from one End of this process to another.
func (a *app) local(parent context.Context) error {
	if err := checkFile(a.path); err != nil {
		return err
	}
	listener, err := listen("127.0.0.1:0", nil, a.log)
	if err != nil {
		return err
	}
	defer listener.Close()
	addr := listener.Addr().String()

	receiver, err := dial(parent, addr, nil, a.log)
	if err != nil {
		return err
	}
	defer receiver.Close()
	sender, err := listener.AcceptEnd()
	if err != nil {
		return fmt.Errorf("accepting on %s: %w", addr, err)
	}
	defer sender.Close()

	// The first that fails, or a signal, ends both.
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	defer closeWith(ctx, sender)()
	defer closeWith(ctx, receiver)()

	var sides sync.WaitGroup
	sides.Go(func() {
		r, err := push(ctx, sender, a.path)
		if err == nil {
			err = r.verdict()
		}
		if err != nil {
			cancel(fmt.Errorf("sender: %w", err))
		}
	})
	var r *result
	sides.Go(func() {
		var err error
		if r, err = receive(ctx, receiver, io.Discard, a.stderr); err != nil {
			cancel(fmt.Errorf("receiver: %w", err))
		}
	})
	sides.Wait()

	if r != nil {
		fmt.Fprintf(a.stdout, "pushed %q over %s\n%s", r.Name, addr, r)
	}
	switch {
	case parent.Err() != nil:
		return errInterrupted
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return r.verdict()
}

// closeWith closes an End when ctx ends, which wakes whoever waits on it. The
// function that it returns takes that back.
func closeWith(ctx context.Context, end geminio.End) (stop func() bool) {
	return context.AfterFunc(ctx, func() { end.Close() })
}
