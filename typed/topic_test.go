package typed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/metadata"
	"github.com/singchia/geminio/options"
	"github.com/singchia/geminio/typed"
)

var alarms = typed.Topic[question]{Name: "alarms"}

// inDispatch runs a test with a pair of Ends in a bubble whose server runs d.
func inDispatch(t *testing.T, d *typed.Dispatcher, test func(t *testing.T, client, server geminio.End)) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		done := make(chan error, 1)
		go func() { done <- d.Run(context.Background(), server) }()
		test(t, client, server)
		client.Close()
		require.Equal(t, io.EOF, <-done)
	})
}

// publishAll publishes messages one after the other without waiting for their answers, and returns
// a function that waits for them.
func publishAll[T any](t *testing.T, topic typed.Topic[T], client geminio.End, all ...T) (wait func() []error) {
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	for i, v := range all {
		wg.Go(func() { errs[i] = topic.Publish(context.Background(), client, v) })
		synctest.Wait() // so that the messages are sent in this order
	}
	return func() []error {
		wg.Wait()
		return errs
	}
}

func TestTopic(t *testing.T) {
	for name, codec := range map[string]typed.Codec{"JSON": nil, "other": reversed{}} {
		t.Run(name, func(t *testing.T) {
			topic := alarms
			topic.Codec = codec
			var d typed.Dispatcher
			var got []question
			var md metadata.MD
			topic.Subscribe(&d, func(ctx context.Context, q question) error {
				end, ok := geminio.EndFrom(ctx)
				assert.True(t, ok && end.Side() == geminio.RecipientSide)
				md, _ = metadata.FromIncomingContext(ctx)
				if q.Text == "" {
					return fmt.Errorf("alarm: %w", quotaError{})
				}
				got = append(got, q)
				return nil
			})
			inDispatch(t, &d, func(t *testing.T, client, _ geminio.End) {
				ctx := metadata.AppendToOutgoingContext(t.Context(), "trace", "7f")
				require.NoError(t, topic.Publish(ctx, client, question{Text: "fire", N: 2}))
				require.Equal(t, []question{{Text: "fire", N: 2}}, got)
				require.Equal(t, []string{"7f"}, md.Get("trace"))
				requireCode(t, topic.Publish(ctx, client, question{}), codeQuota, "alarm: over the quota")
			})
		})
	}
}

func TestTopicFaults(t *testing.T) {
	var d typed.Dispatcher
	calls := 0
	alarms.Subscribe(&d, func(context.Context, question) error {
		calls++
		return nil
	})
	inDispatch(t, &d, func(t *testing.T, client, _ geminio.End) {
		ctx := t.Context()
		opt := options.NewMessage()
		opt.SetTopic("alarms")
		for _, bad := range []string{``, `{"text":7}`, `{`} {
			requireCode(t, client.Publish(ctx, client.NewMessage([]byte(bad), opt)), geminio.CodeInvalid, `message of "alarms": json: `)
		}
		other := alarms
		other.Codec = reversed{}
		requireCode(t, other.Publish(ctx, client, question{}), geminio.CodeInvalid, "encoded by another codec")
		unknown := typed.Topic[int]{Name: "unknown"}
		requireCode(t, unknown.Publish(ctx, client, 1), geminio.CodeNoMethod, `no handler for topic "unknown"`)
		never := typed.Topic[func()]{Name: "never"}
		requireData(t, never.Publish(ctx, client, nil), `message of "never"`)
		require.Zero(t, calls)
		require.NoError(t, alarms.Publish(ctx, client, question{}))

		once := alarms
		once.Cnss = options.CnssAtMostOnce
		require.NoError(t, once.Publish(ctx, client, question{}))
		synctest.Wait()
		require.Equal(t, 2, calls)

		alarms.Subscribe(&d, nil)
		requireCode(t, alarms.Publish(ctx, client, question{}), geminio.CodeNoMethod, "no handler")
	})
}

func TestOtherTopics(t *testing.T) {
	d := typed.Dispatcher{Other: func(_ context.Context, m geminio.Message) error {
		if m.Topic() == "answered" {
			return m.Done()
		}
		return errors.New(m.Topic())
	}}
	inDispatch(t, &d, func(t *testing.T, client, _ geminio.End) {
		requireCode(t, alarms.Publish(t.Context(), client, question{}), geminio.CodeApplication, "alarms")
		require.NoError(t, typed.Topic[int]{Name: "answered"}.Publish(t.Context(), client, 1))
	})
}

// The messages of a topic are handled in order, one at a time; a slow topic does not delay another.
func TestOrderOfTopics(t *testing.T) {
	var d typed.Dispatcher
	slow, fast := typed.Topic[int]{Name: "slow"}, typed.Topic[int]{Name: "fast"}
	var order []int
	running := 0
	slow.Subscribe(&d, func(_ context.Context, n int) error {
		running++
		assert.Equal(t, 1, running)
		time.Sleep(time.Duration(10-n) * time.Second)
		order = append(order, n)
		running--
		return nil
	})
	fast.Subscribe(&d, func(context.Context, int) error { return nil })
	inDispatch(t, &d, func(t *testing.T, client, _ geminio.End) {
		wait := publishAll(t, slow, client, 0, 1, 2, 3, 4)
		start := time.Now()
		require.NoError(t, fast.Publish(t.Context(), client, 1))
		require.Zero(t, time.Since(start), "the fast topic waits for the slow one")
		require.NoError(t, errors.Join(wait()...))
		require.Equal(t, []int{0, 1, 2, 3, 4}, order)
		require.Equal(t, 40*time.Second, time.Since(start))
	})
}

// keyed is a message with a key.
type keyed struct {
	Key string
	N   int
}

func TestOrderOfKeys(t *testing.T) {
	var d typed.Dispatcher
	topic := typed.Topic[keyed]{Name: "keyed"}
	var mu sync.Mutex
	order := make(map[string][]int)
	topic.Subscribe(&d, func(_ context.Context, k keyed) error {
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		order[k.Key] = append(order[k.Key], k.N)
		return nil
	}, nil, &typed.SubscribeOptions[keyed]{Key: func(k keyed) string { return k.Key }})
	inDispatch(t, &d, func(t *testing.T, client, _ geminio.End) {
		var all []keyed
		for n := range 5 {
			for key := range 3 {
				all = append(all, keyed{strconv.Itoa(key), n})
			}
		}
		start := time.Now()
		require.NoError(t, errors.Join(publishAll(t, topic, client, all...)()...))
		require.Equal(t, 5*time.Second, time.Since(start), "the keys are not handled at the same time")
		for _, ns := range order {
			require.Equal(t, []int{0, 1, 2, 3, 4}, ns)
		}

		opt := options.NewMessage()
		opt.SetTopic("keyed")
		requireCode(t, client.Publish(t.Context(), client.NewMessage([]byte("7"), opt)), geminio.CodeInvalid, "message")
	})
}

func TestUnordered(t *testing.T) {
	d := typed.Dispatcher{Concurrency: 4}
	topic := typed.Topic[int]{Name: "unordered"}
	running, most := 0, 0
	var mu sync.Mutex
	topic.Subscribe(&d, func(context.Context, int) error {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(time.Second)
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	}, &typed.SubscribeOptions[int]{Unordered: true})
	inDispatch(t, &d, func(t *testing.T, client, _ geminio.End) {
		start := time.Now()
		require.NoError(t, errors.Join(publishAll(t, topic, client, make([]int, 12)...)()...))
		require.Equal(t, 4, most, "handlers at the same time")
		require.Equal(t, 3*time.Second, time.Since(start))
	})
}

// Messages beyond the backlog stay with the library, so that their publishers wait.
func TestBacklog(t *testing.T) {
	d := typed.Dispatcher{Backlog: 3}
	slow, fast := typed.Topic[int]{Name: "slow"}, typed.Topic[int]{Name: "fast"}
	fast.Subscribe(&d, func(context.Context, int) error { return nil })
	inDispatch(t, &d, func(t *testing.T, client, _ geminio.End) {
		release := make(chan struct{})
		slow.Subscribe(&d, func(context.Context, int) error { <-release; return nil })
		wait := publishAll(t, slow, client, 1, 2)
		require.NoError(t, fast.Publish(t.Context(), client, 1))
		wait2 := publishAll(t, slow, client, 3)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, fast.Publish(ctx, client, 1), context.DeadlineExceeded, "the backlog is full")
		close(release)
		require.NoError(t, errors.Join(append(wait(), wait2()...)...))
		require.NoError(t, fast.Publish(t.Context(), client, 1))
	})
}

// A handler that panics, or ends its goroutine, fails its message alone.
func TestTopicPanics(t *testing.T) {
	var log bytes.Buffer
	d := typed.Dispatcher{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	topic := typed.Topic[int]{Name: "panics"}
	topic.Subscribe(&d, func(_ context.Context, n int) error {
		switch n {
		case 1:
			panic("oops")
		case 2:
			runtime.Goexit()
		}
		return nil
	})
	key := typed.Topic[int]{Name: "key"}
	key.Subscribe(&d, func(context.Context, int) error { return nil },
		&typed.SubscribeOptions[int]{Key: func(int) string { panic("key") }})
	inDispatch(t, &d, func(t *testing.T, client, _ geminio.End) {
		errs := publishAll(t, topic, client, 1, 2, 3)()
		requireCode(t, errs[0], geminio.CodePanic, "panicked")
		requireCode(t, errs[1], geminio.CodePanic, "ended its goroutine")
		require.NoError(t, errs[2])
		requireCode(t, key.Publish(t.Context(), client, 1), geminio.CodePanic, "panicked")
		require.Contains(t, log.String(), "oops")
	})
}

// When the context of Run ends, the handlers' contexts end, and waiting messages get an error.
func TestRunEndsWithItsContext(t *testing.T) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		var d typed.Dispatcher
		topic := typed.Topic[int]{Name: "topic"}
		calls := 0
		topic.Subscribe(&d, func(ctx context.Context, _ int) error {
			calls++
			<-ctx.Done()
			return ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx, server) }()
		wait := publishAll(t, topic, client, 1, 2, 3)
		cancel()
		require.Equal(t, context.Canceled, <-done)
		for _, err := range wait() {
			requireCode(t, err, geminio.CodeCanceled, "context canceled")
		}
		require.Equal(t, 1, calls)
	})
}

// Messages that had arrived before the end of the End are handled.
func TestRunHandlesEverythingThatArrived(t *testing.T) {
	inPair(t, func(t *testing.T, client, server geminio.End) {
		var d typed.Dispatcher
		topic := typed.Topic[int]{Name: "topic"}
		var got []int
		topic.Subscribe(&d, func(ctx context.Context, n int) error {
			time.Sleep(time.Second)
			got = append(got, n)
			return ctx.Err()
		})
		done := make(chan error, 1)
		go func() { done <- d.Run(t.Context(), server) }()
		wait := publishAll(t, topic, client, 1, 2, 3)
		client.Close()
		wait()
		require.Equal(t, io.EOF, <-done)
		require.True(t, slices.Equal([]int{1, 2, 3}, got))
	})
}
