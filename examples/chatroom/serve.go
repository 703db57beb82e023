package main

// The server: it accepts clients, receives their lines, and publishes events to them.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/turns"
	"github.com/singchia/geminio/inspect"
	"github.com/singchia/geminio/server"
	"github.com/singchia/geminio/typed"
)

const serveUsage = `chatroom serve serves a room for clients.

  chatroom serve [FLAGS]

On SIGINT or SIGTERM it tells the clients and ends. The clients then wait for a new
server. A second signal ends it at once.
`

const (
	// lastWord is the notice that clients get when the server stops.
	lastWord = "the server is stopping"
	// patience is how long the server waits until clients have got it.
	patience = 2 * time.Second
	// grace is how long the server waits after that for operations under way.
	grace = 3 * time.Second
)

// chatServer is one run of chatroom serve.
type chatServer struct {
	*cli.Program
	listen         string
	history, queue int
	heartbeat      time.Duration
	tls            *cli.ServerTLS
	tokens         *cli.ServerTokens
	inspector      *cli.Inspector
	room           *room
	turns          turns.Turns // orders the connections of one client
}

func serveMain(args []string) int {
	s := &chatServer{Program: cli.New("chatroom serve", serveUsage)}
	s.Flags.StringVar(&s.listen, "listen", address, "listen on `ADDR` (host:port)")
	s.Flags.IntVar(&s.history, "history", 50, "send the last `N` lines to new clients")
	s.Flags.IntVar(&s.queue, "queue", 256, "keep up to `N` lines for a slow client, and drop older ones")
	s.Flags.DurationVar(&s.heartbeat, "heartbeat", 10*time.Second, "end the connection of a client that is silent for twice that `TIME`")
	s.tls = cli.ServerTLSFlags(s.Flags)
	s.tokens = cli.ServerTokenFlags(s.Flags, tokenVariable)
	s.inspector = cli.InspectorFlag(s.Flags)
	return s.Main(args, s.run)
}

// run serves until ctx ends.
func (s *chatServer) run(ctx context.Context) error {
	switch {
	case s.Flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", s.Flags.Arg(0))
	case s.history < 0 || s.queue <= s.history:
		return cli.Usagef("-queue must be above -history, and that not below 0")
	case s.heartbeat <= 0:
		return cli.Usagef("-heartbeat must be above 0")
	}
	tokens, err := s.tokens.Load()
	if err != nil {
		return err
	}
	cli.WarnPlain(s.Log, s.listen, tokens.Wanted(), s.tls.Used())
	nl, err := s.tls.Listen(s.listen, s.Stdout)
	if err != nil {
		return err
	}
	s.room = newRoom(s.history, s.queue)
	opt := server.NewEndOptions()
	opt.SetResumeKeep(0) // the room shows at once who has left
	opt.SetLogger(s.Log)
	opt.SetHeartbeat(s.heartbeat)
	opt.SetDelegate(admission{room: s.room, tokens: tokens, log: s.Log})
	opt.SetRegisterLocalRPCs(methodWho.Handler(s.names), methodTell.Handler(s.tell))
	l, err := server.NewListener(nl, opt)
	if err != nil {
		return err
	}
	stop, err := s.inspector.Serve(s.Program, &inspect.Handler{Sources: []inspect.Source{l.(*server.Server)}, Name: auth.NameOf})
	if err != nil {
		l.Close()
		return err
	}
	defer stop()
	fmt.Fprintf(s.Stdout, "listening on %s\n", l.Addr())
	return s.serve(ctx, l)
}

// serve accepts clients until ctx ends. Then it publishes the last notice and closes the
// Ends.
func (s *chatServer) serve(ctx context.Context, l server.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var readers, writers sync.WaitGroup
	var err error
	for {
		end, acceptErr := l.AcceptEnd()
		if acceptErr != nil {
			if ctx.Err() == nil || !errors.Is(acceptErr, net.ErrClosed) {
				err = acceptErr
			}
			break
		}
		m := s.room.member(end.ClientID(), end.RemoteAddr().String())
		if m == nil { // the connection has ended already
			end.Close()
			continue
		}
		s.Log.Info("client connected", "name", m.Name, "remote", m.remote)
		wait, done := s.turns.Take(end.ClientID())
		readers.Go(func() {
			defer done()
			wait() // until the lines of the previous connection are processed
			s.hear(end, m)
		})
		writers.Go(func() { s.publish(end, m) })
	}

	s.room.close(lastWord)
	published := make(chan struct{})
	go func() {
		writers.Wait()
		close(published)
	}()
	select {
	case <-published:
	case <-time.After(patience): // some clients do not receive
	}
	bounded, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if e := geminio.Shutdown(bounded, l); e != nil {
		s.Log.Info("clients were cut off", "err", e)
	}
	readers.Wait()
	<-published
	return err
}

// hear receives the messages of a client until its connection ends.
func (s *chatServer) hear(end geminio.End, m *member) {
	defer end.Close()
	var d typed.Dispatcher
	topicSay.Subscribe(&d, func(_ context.Context, text string) error {
		return s.room.say(m, text) // also if the connection has ended meanwhile
	})
	topicQuit.Subscribe(&d, func(context.Context, struct{}) error {
		s.room.quit(m)
		return nil
	})
	err := d.Run(context.Background(), end)
	s.Log.Info("client gone", "name", m.Name, "why", err)
}

// publish publishes the events in a client's mailbox, one after the other. A client
// that does not receive them delays no other client.
func (s *chatServer) publish(end geminio.End, m *member) {
	for {
		e, ok := m.box.take(m.gone)
		if !ok {
			return
		}
		if err := topicEvent.Publish(context.Background(), end, e); err != nil {
			s.Log.Info("a client did not hear", "name", m.Name, "event", e.Kind, "err", err)
		}
	}
}

// names handles methodWho.
func (s *chatServer) names(context.Context, struct{}) ([]string, error) { return s.room.here(), nil }

// tell handles methodTell.
func (s *chatServer) tell(ctx context.Context, line told) (struct{}, error) {
	from, ok := geminio.EndFrom(ctx)
	if !ok {
		return struct{}{}, errAway
	}
	return struct{}{}, s.room.tell(from.ClientID(), line.To, line.Text)
}
