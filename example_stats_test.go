package geminio_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/client"
)

// The functions of Stats count the calls of an End.
func ExampleStats() {
	var begun, failed atomic.Int64
	opt := client.NewEndOptions()
	opt.SetStats(geminio.Stats{
		CallBegin: func(geminio.CallEvent) { begun.Add(1) },
		CallEnd: func(ev geminio.CallEvent) {
			if ev.Code != geminio.CodeOK {
				failed.Add(1)
			}
		},
	})
	near, far := connect(opt)
	defer near.Close()
	err := far.Register(context.Background(), "greet", func(_ context.Context, _ geminio.Request, resp geminio.Response) {
		resp.SetData([]byte("hello"))
	})
	if err != nil {
		log.Fatal(err)
	}
	near.Call(context.Background(), "greet", near.NewRequest(nil))
	near.Call(context.Background(), "unknown", near.NewRequest(nil))
	fmt.Println(begun.Load(), "calls,", failed.Load(), "has failed")
	// Output: 2 calls, 1 has failed
}

// A snapshot is the state of an End. It needs no Stats.
func ExampleSnapshotOf() {
	near, far := connect()
	defer near.Close()
	if _, err := far.OpenStream(); err != nil {
		log.Fatal(err)
	}
	if s, ok := geminio.SnapshotOf(near); ok {
		fmt.Println(s.State, s.Side, s.IncomingStreams.InFlight, s.IncomingCalls.InFlight)
	}
	// Output: connected initiator 1 0
}

// A call that hangs is seen by its age.
func ExampleCallsOf() {
	near, far := connect()
	defer near.Close()
	running := make(chan struct{})
	err := far.Register(context.Background(), "wait", func(ctx context.Context, _ geminio.Request, _ geminio.Response) {
		close(running)
		<-ctx.Done()
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := near.CallAsync(context.Background(), "wait", near.NewRequest(nil), nil); err != nil {
		log.Fatal(err)
	}
	<-running
	for _, c := range geminio.CallsOf(far, 10) { // the ten oldest ones
		fmt.Println(c.Direction, c.Method, c.State)
	}
	// Output: incoming wait running
}
