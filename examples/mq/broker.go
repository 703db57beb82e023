package main

// The broker: it accepts clients, which publish, subscribe and query.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/inspect"
	"github.com/singchia/geminio/server"
)

const brokerUsage = `mq broker keeps messages until all groups of their topic have acknowledged them. It
stores them in a directory, or in an existing NATS JetStream, which several brokers can
share.

  mq broker [FLAGS]

On SIGINT or SIGTERM it hands out no more messages, waits a few seconds for operations
under way, and ends. A second signal ends it at once.
`

const (
	// grace is how long the broker waits for operations under way after a signal.
	grace = 3 * time.Second
	// sessionKeep is how long the broker keeps unstored messages of a producer that has
	// disconnected.
	sessionKeep = 5 * time.Minute
)

// broker is one run of mq broker.
type broker struct {
	*cli.Program
	listen, data, nats    string
	sync                  bool
	heartbeat, retryDelay time.Duration
	maxDeliver            int
	maxStore              int64
	deadTopic             string
	groups                []subscription // the groups of -group
	tls                   *cli.ServerTLS
	tokens                *cli.ServerTokens
	inspector             *cli.Inspector
	queues                queues

	engine   *engine
	disk     *disk           // nil: another server stores the messages
	ctx      context.Context // ends when the broker ends or its storage fails
	failed   chan struct{}   // closed when the storage has failed
	session  string          // the prefix of names for messages without a name
	ids      atomic.Uint64   // counts these names
	clients  presence
	waiting  counts // producers that wait for space, by topic
	takers   counts // subscriptions, by topic/group
	held     holdings
	failures failures
	seldom   cli.Seldom
}

func brokerMain(args []string) int {
	b := &broker{Program: cli.New("mq broker", brokerUsage), session: rand.Text()}
	b.Flags.StringVar(&b.listen, "listen", address, "listen on `ADDR` (host:port)")
	b.Flags.StringVar(&b.data, "data", "mq-data", "store messages in the directory `DIR`, which is this broker's alone")
	b.Flags.StringVar(&b.nats, "nats", "", "store messages in the JetStream of the NATS servers `URL` instead")
	b.Flags.IntVar(&b.queues.replicas, "replicas", 1, "with -nats, store each message on `N` servers")
	b.Flags.BoolVar(&b.sync, "sync", false, "with -data, have each message on the disk before it is acknowledged: it survives a power cut, and is slow")
	b.Flags.Int64Var(&b.queues.maxMessages, "max-messages", 1_000_000, "keep up to `N` messages of a topic; then producers wait")
	b.Flags.Int64Var(&b.queues.maxBytes, "max-bytes", 1<<30, "keep up to `N` bytes of a topic; then producers wait")
	b.Flags.Int64Var(&b.maxStore, "max-store", 0, "with -data, keep up to `N` bytes of all topics, each of which reserves -max-bytes of them; 0: three quarters of what the disk has free")
	b.Flags.DurationVar(&b.queues.ackWait, "ack-wait", 30*time.Second, "deliver a message again if nothing was heard for that `TIME` of the broker whose consumer has it")
	b.Flags.IntVar(&b.queues.maxInFlight, "in-flight", 10_000, "let up to `N` messages be with the consumers of a group")
	b.Flags.DurationVar(&b.retryDelay, "retry-delay", time.Second, "deliver a message that a consumer could not deal with again after that `TIME`, and twice that the next time, and so on, up to 64 times that")
	b.Flags.IntVar(&b.maxDeliver, "max-deliver", 0, "move a message with which a group's consumers have failed `N` times to the topic of -dead-letter; 0: deliver it for ever")
	b.Flags.StringVar(&b.deadTopic, "dead-letter", "dead-letters", "with -max-deliver, move messages to the topic `T`")
	b.Flags.DurationVar(&b.heartbeat, "heartbeat", 10*time.Second, "take a client for dead that is silent for twice that `TIME`")
	b.Flags.Func("group", "have the group G of the topic T from the beginning, as `T/G`; can be repeated", func(text string) error {
		topic, group, _ := strings.Cut(text, "/")
		s := subscription{Topic: topic, Group: group}
		b.groups = append(b.groups, s)
		return s.check()
	})
	b.tls = cli.ServerTLSFlags(b.Flags)
	b.tokens = cli.ServerTokenFlags(b.Flags, tokenVariable)
	b.inspector = cli.InspectorFlag(b.Flags)
	return b.Main(args, b.run)
}

// check returns an error if the command line is invalid.
func (b *broker) check() error {
	set := make(map[string]bool)
	b.Flags.Visit(func(f *flag.Flag) { set[f.Name] = true })
	switch {
	case b.Flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", b.Flags.Arg(0))
	case b.nats != "" && (set["data"] || b.sync || b.maxStore != 0):
		return cli.Usagef("-data, -sync and -max-store are not for -nats: that has a storage of its own")
	case b.maxStore < 0:
		return cli.Usagef("-max-store is not below 0")
	case b.nats == "" && set["replicas"]:
		return cli.Usagef("-replicas goes with -nats")
	case b.queues.maxMessages <= 0 || b.queues.maxBytes <= 0 || b.queues.maxInFlight <= 0 || b.queues.replicas <= 0:
		return cli.Usagef("-max-messages, -max-bytes, -in-flight and -replicas must be above 0")
	case b.maxDeliver < 0:
		return cli.Usagef("-max-deliver is not below 0")
	case checkName("topic", b.deadTopic) != nil:
		return cli.Usagef("-dead-letter: %v", checkName("topic", b.deadTopic))
	case b.queues.ackWait <= 0 || b.retryDelay <= 0 || b.heartbeat <= 0:
		return cli.Usagef("-ack-wait, -retry-delay and -heartbeat must be above 0")
	}
	return nil
}

// run serves until ctx ends. If the storage fails, run opens it again, and the clients
// begin their operations again.
func (b *broker) run(ctx context.Context) error {
	if err := b.check(); err != nil {
		return err
	}
	tokens, err := b.tokens.Load()
	if err != nil {
		return err
	}
	cli.WarnPlain(b.Log, b.listen, tokens.Wanted(), b.tls.Used())
	if b.nats == "" {
		b.disk = &disk{dir: b.data, log: b.Log}
	}
	for {
		err := b.once(ctx, tokens)
		if !errors.Is(err, errStorage) {
			return err
		}
		b.Log.Warn("the storage is opened again", "err", err)
	}
}

// once serves until ctx ends or the storage fails.
func (b *broker) once(ctx context.Context, tokens *cli.Tokens) error {
	nl, err := b.tls.Listen(b.listen, b.Stdout)
	if err != nil {
		return err
	}
	defer nl.Close()
	b.listen = nl.Addr().String() // run may listen there again
	if err := b.open(ctx); err != nil {
		return err
	}
	defer b.engine.close()

	opt := server.NewEndOptions()
	opt.SetResumeKeep(0) // messages of a consumer that is killed go to others at once
	opt.SetLogger(b.Log)
	opt.SetHeartbeat(b.heartbeat)
	opt.SetSessionKeep(sessionKeep)
	opt.SetDelegate(auth.NewDelegate(program, tokens, b.Log))
	opt.SetMaxMessageSize(b.engine.maxMessage() + headroom) // includes topic and name
	l, err := server.NewListener(nl, opt)
	if err != nil {
		return err
	}
	stop, err := b.inspector.Serve(b.Program, &inspect.Handler{Sources: []inspect.Source{l.(*server.Server)}, Name: auth.NameOf})
	if err != nil {
		l.Close()
		return err
	}
	defer stop()
	fmt.Fprintf(b.Stdout, "listening on %s\n", l.Addr())

	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.failed = make(chan struct{})
	if b.disk != nil {
		var watcher sync.WaitGroup
		defer watcher.Wait()
		defer cancel(nil)
		watcher.Go(func() {
			if err := b.disk.watch(watched, b.engine.health); err != nil {
				close(b.failed)
				cancel(err)
			}
		})
	}
	err = b.serve(watched, l)
	if cause := context.Cause(watched); errors.Is(cause, errStorage) {
		err = cause
	}
	return err
}

// open opens the storage and the groups of the flags.
func (b *broker) open(ctx context.Context) (err error) {
	if b.nats != "" {
		if b.engine, err = connect(b.nats, b.Log); err != nil {
			return fmt.Errorf("the storage at %s: %w", b.nats, err)
		}
	} else {
		if b.engine, err = embed(ctx, b.data, b.maxStore, b.sync, b.Log); err != nil {
			return err
		}
		b.disk.opened()
	}
	b.queues.use(b.engine, b.disk)
	if all, _, known := b.engine.capacity(); known && all < b.queues.maxBytes {
		b.Log.Warn(fmt.Sprintf("the disk has no room for a topic: each reserves %s (-max-bytes), and all may have %s (-max-store)",
			cli.Size(b.queues.maxBytes), cli.Size(all)))
	}
	for _, s := range b.groups {
		bounded, cancel := context.WithTimeout(ctx, engineAnswer)
		_, err := b.queues.group(bounded, s.Topic, s.Group)
		cancel()
		if err != nil {
			b.engine.close()
			return fmt.Errorf("group %s of topic %s: %w", s.Group, s.Topic, err)
		}
	}
	return nil
}

// serve serves clients until ctx ends.
func (b *broker) serve(ctx context.Context, l server.Listener) error {
	b.ctx = ctx
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var clients sync.WaitGroup
	var err error
	for {
		end, acceptErr := l.AcceptEnd()
		if acceptErr != nil {
			if ctx.Err() == nil || !errors.Is(acceptErr, net.ErrClosed) {
				err = acceptErr
			}
			break
		}
		clients.Go(func() { b.client(end) })
	}
	bounded, cancel := context.WithTimeout(context.Background(), b.grace())
	defer cancel()
	if e := geminio.Shutdown(bounded, l); e != nil {
		b.Log.Info("clients were cut off", "err", e)
	}
	clients.Wait()
	return err
}

// grace returns how long the broker waits for operations under way when it ends.
func (b *broker) grace() time.Duration {
	select {
	case <-b.failed:
		return 0 // the storage has failed
	default:
		return grace
	}
}

// client serves one client until its connection has ended and its operations are done.
func (b *broker) client(end geminio.End) {
	defer end.Close()
	log := b.Log.With("client", end.ClientID(), "remote", end.RemoteAddr())
	log.Info("client connected")
	b.clients.come(end.ClientID())
	subscriptions := &pushers{b: b, end: end, log: log}
	in := newIntake(b, end.ClientID())
	why := b.offer(end, subscriptions)
	if why == nil {
		why = in.receive(end)
	}
	log.Info("client gone", "why", why)
	b.clients.leave(end.ClientID())
	in.finish()
	subscriptions.finish()
	b.clients.done(end.ClientID())
}

// offer registers the methods of the broker.
func (b *broker) offer(end geminio.End, subscriptions *pushers) error {
	for method, handle := range map[string]func(context.Context, []byte) (any, error){
		methodSubscribe: subscriptions.subscribe,
		methodStats:     b.stats,
		methodDrop:      b.drop,
	} {
		if err := end.Register(context.Background(), method, answer(handle)); err != nil {
			return err
		}
	}
	return nil
}

// answer makes an RPC of a function whose argument and result are JSON values.
func answer(handle func(context.Context, []byte) (any, error)) geminio.RPC {
	return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
		value, err := handle(ctx, req.Data())
		if err == nil && value != nil {
			var data []byte
			data, err = json.Marshal(value)
			resp.SetData(data)
		}
		resp.SetError(err)
	}
}

// stats answers calls of methodStats.
func (b *broker) stats(ctx context.Context, data []byte) (any, error) {
	var topics []string
	if err := json.Unmarshal(data, &topics); err != nil {
		return nil, err
	}
	all, err := b.queues.stats(ctx, topics)
	for i := range all {
		s := &all[i]
		s.Waiting = b.waiting.get(s.Topic)
		for j := range s.Groups {
			g := &s.Groups[j]
			g.Consumers = int(b.takers.get(s.Topic + "/" + g.Group))
		}
	}
	return all, err
}

// drop answers calls of methodDrop.
func (b *broker) drop(ctx context.Context, data []byte) (any, error) {
	var s subscription
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if n := b.takers.get(s.Topic + "/" + s.Group); n > 0 {
		return nil, fmt.Errorf("group %s of topic %s has consumers: %d", s.Group, s.Topic, n)
	}
	return nil, b.queues.drop(ctx, s.Topic, s.Group)
}
