package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/singchia/geminio/internal/wire1"
	"github.com/singchia/geminio/test/oldpeer"
)

// oldClient is a client of wire 1 that connects again after its connection was cut.
type oldClient struct {
	w *work

	mu     sync.Mutex
	cond   *sync.Cond
	back   map[uint64][]byte   // received raw bytes, by session that this client has opened
	theirs map[uint64]struct{} // the sessions that the server has opened
}

// errOver is the error of an operation of an oldClient if its connection has ended.
var errOver = errors.New("the connection has ended")

// workOld runs the work of one oldClient until the end.
func (w *work) workOld() {
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		err := w.connectOld()
		if errors.Is(err, context.DeadlineExceeded) {
			w.wrong.CompareAndSwap(nil, &err)
		}
		if err != nil {
			time.Sleep(rand.N(50 * time.Millisecond))
		}
	}
}

// connectOld works with one connection until the connection breaks or the work ends.
func (w *work) connectOld() error {
	nc, err := w.dial()
	if err != nil {
		return err
	}
	c := &oldClient{w: w, back: make(map[uint64][]byte), theirs: make(map[uint64]struct{})}
	c.cond = sync.NewCond(&c.mu)
	p, err := oldpeer.Dial(nc, oldpeer.Config{
		Meta: []byte(old), Newer: rand.IntN(2) == 0, LateAnswer: rand.IntN(2) == 0,
		Lag: rand.N(time.Millisecond), Skew: rand.N(2*time.Hour) - time.Hour,
		Handle: func(_ context.Context, _ *oldpeer.Session, p wire1.Packet) ([]byte, error) {
			return p.Value, nil
		},
		Opened: func(s *oldpeer.Session) error {
			c.mu.Lock()
			c.theirs[s.ID] = struct{}{}
			c.mu.Unlock()
			return nil
		},
		Raw: func(s *oldpeer.Session, b []byte) {
			c.mu.Lock()
			_, theirs := c.theirs[s.ID]
			if !theirs {
				c.back[s.ID] = append(c.back[s.ID], b...)
				c.cond.Broadcast()
			}
			c.mu.Unlock()
			if theirs {
				s.Write(b)
			}
		},
		Dismissed: func(s *oldpeer.Session) {
			c.mu.Lock()
			delete(c.theirs, s.ID)
			c.cond.Broadcast()
			c.mu.Unlock()
		},
	})
	if err != nil {
		nc.Close()
		return err
	}
	w.oldLinks.Add(1)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, do := range []func(context.Context, *oldpeer.Peer) error{c.call, c.call, c.publish, c.stream, c.stream} {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := do(ctx, p)
				select {
				case <-w.stop:
					return // an operation under way may fail at the end
				default:
				}
				if err != nil && p.Err() == nil && ctx.Err() == nil {
					w.wrong.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	select {
	case <-p.Over():
	case <-time.After(rand.N(5 * time.Second)): // leaves, and comes back
		cancel()
		err = shut(p)
	case <-w.stop:
		err = shut(p)
	}
	cancel()
	c.cond.Broadcast()
	wg.Wait()
	p.Cut()
	return err
}

// shut closes a connection in an orderly way. A cut of the connection is not an error.
func shut(p *oldpeer.Peer) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Shut(ctx); errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (c *oldClient) call(ctx context.Context, p *oldpeer.Peer) error {
	if rand.IntN(20) == 0 { // gives up some calls
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rand.N(time.Millisecond))
		defer cancel()
	}
	data := payload()
	back, err := p.Call(ctx, "echo", data)
	c.w.calls.Add(1)
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil && !bytes.Equal(data, back):
		return fmt.Errorf("an old call of %d bytes was answered with %d others", len(data), len(back))
	case err == nil:
		c.w.oldCalls.Add(1)
	}
	return err
}

func (c *oldClient) publish(ctx context.Context, p *oldpeer.Peer) error {
	c.w.messages.Add(1)
	err := p.Publish(ctx, "topic", payload())
	if err == nil {
		c.w.oldMessages.Add(1)
	}
	return err
}

// stream moves bytes in both directions.
func (c *oldClient) stream(ctx context.Context, p *oldpeer.Peer) error {
	s, err := p.Open(ctx, "", nil)
	if err != nil {
		return err
	}
	c.w.streams.Add(1)
	data := bytes.Repeat(payload(), 1+rand.IntN(10))
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1+rand.IntN(20_000))
		if _, err := s.Write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	c.mu.Lock()
	for len(c.back[s.ID]) < len(data) && ctx.Err() == nil && p.Err() == nil {
		c.cond.Wait()
	}
	back := c.back[s.ID]
	delete(c.back, s.ID)
	c.mu.Unlock()
	c.w.bytes.Add(int64(len(back)))
	if ctx.Err() != nil || p.Err() != nil {
		return errOver
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("%d other bytes came back of an old client's %d", len(back), len(data))
	}
	c.w.oldStreams.Add(1)
	return s.Dismiss(ctx)
}

// oldWork returns what the old clients have done, and an error if they did not do everything.
func (w *work) oldWork() (string, error) {
	links, calls, messages, streams := w.oldLinks.Load(), w.oldCalls.Load(), w.oldMessages.Load(), w.oldStreams.Load()
	back := w.oldBack.Load()
	text := fmt.Sprintf("clients of wire 1: %d connections, %d calls, %d messages, %d streams, %d operations of the server",
		links, calls, messages, streams, back)
	if min(links, calls, messages, streams, back) == 0 {
		return text, fmt.Errorf("something was not done by the %s", text)
	}
	return text, nil
}
