package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func natsPeer() *peer {
	return &peer{
		name: "nats", role: other, module: "github.com/nats-io/nats-server/v2",
		setup: "nats.go and an embedded nats-server, over TCP; request and reply, through the server, with a responder on a second connection; no bulk, since it drops messages that are not read in time",
		start: func(svc *service) (server, error) { return startNATS(svc, false) },
	}
}

func jetStreamPeer() *peer {
	return &peer{
		name: "JetStream", role: other, module: "github.com/nats-io/nats-server/v2",
		setup: "the same server; messages stored in a JetStream in memory and acknowledged by the server, PublishAsync and its future; no consumer",
		start: func(svc *service) (server, error) { return startNATS(svc, true) },
	}
}

const (
	natsCalls    = "peers.call"
	natsMessages = "peers.message"
	natsStored   = "peers.stored"
	natsTimeout  = 10 * time.Second
)

type natsServer struct {
	server    *natsserver.Server
	service   *service
	jetStream bool
	dir       string
}

func startNATS(svc *service, jetStream bool) (server, error) {
	if svc.security != nil {
		return nil, errNotOffered
	}
	dir, err := os.MkdirTemp("", "peers-nats-") // JetStream requires a directory, also for memory storage
	if err != nil {
		return nil, err
	}
	s, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT,
		NoLog: true, NoSigs: true, JetStream: jetStream, JetStreamMaxMemory: 1 << 30, StoreDir: dir,
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	started := &natsServer{server: s, service: svc, jetStream: jetStream, dir: dir}
	go s.Start()
	if !s.ReadyForConnections(natsTimeout) {
		return nil, errors.Join(errors.New("the embedded server does not start"), started.close())
	}
	return started, nil
}

func (s *natsServer) close() error {
	s.server.Shutdown()
	s.server.WaitForShutdown()
	return os.RemoveAll(s.dir)
}

func (s *natsServer) dial() (link, error) {
	c, err := nats.Connect(s.server.ClientURL())
	if err != nil {
		return nil, err
	}
	if s.jetStream {
		l := &jetStreamLink{client: c}
		if err := l.prepare(); err != nil {
			return nil, errors.Join(err, l.close())
		}
		return l, nil
	}
	l := &natsLink{client: c}
	if err := l.respond(s); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// natsLink is a link with request and reply.
type natsLink struct {
	client    *nats.Conn
	responder *nats.Conn // nil if there are no requests to answer
}

// respond connects the side that answers.
func (l *natsLink) respond(s *natsServer) error {
	if s.service.answer == nil && s.service.message == nil {
		return nil
	}
	var err error
	if l.responder, err = nats.Connect(s.server.ClientURL()); err != nil {
		return err
	}
	for subject, handle := range map[string]nats.MsgHandler{
		natsCalls: func(m *nats.Msg) { m.Respond(s.service.answer(m.Data)) },
		natsMessages: func(m *nats.Msg) {
			s.service.message(m.Data)
			m.Respond(nil)
		},
	} {
		if _, err := l.responder.Subscribe(subject, handle); err != nil {
			return err
		}
	}
	return l.responder.Flush()
}

func (l *natsLink) close() error {
	l.client.Close()
	if l.responder != nil {
		l.responder.Close()
	}
	return nil
}

func (l *natsLink) request(subject string) call {
	return func(request []byte) ([]byte, error) {
		m, err := l.client.Request(subject, request, natsTimeout)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	}
}

func (l *natsLink) caller() (call, error) { return l.request(natsCalls), nil }

func (l *natsLink) publisher() (publish, error) { return acked(l.request(natsMessages)), nil }

// jetStreamLink is a link whose server stores messages.
type jetStreamLink struct {
	client *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
}

// prepare creates the stream that stores the messages.
func (l *jetStreamLink) prepare() error {
	var err error
	if l.js, err = jetstream.New(l.client); err != nil {
		return err
	}
	l.stream, err = l.js.CreateOrUpdateStream(context.Background(), jetstream.StreamConfig{
		Name: "PEERS", Subjects: []string{natsStored}, Storage: jetstream.MemoryStorage,
		MaxMsgs: 1 << 16, Discard: jetstream.DiscardOld,
	})
	return err
}

func (l *jetStreamLink) close() error {
	l.client.Close()
	return nil
}

// stored returns the number of messages in the stream.
func (l *jetStreamLink) stored() ([][]byte, error) {
	info, err := l.stream.Info(context.Background())
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := l.stream.GetMsg(context.Background(), seq)
		if err != nil {
			return nil, err
		}
		all = append(all, m.Data)
	}
	return all, nil
}

func (l *jetStreamLink) publisher() (publish, error) {
	return func(data []byte) error {
		f, err := l.js.PublishAsync(natsStored, data)
		if err != nil {
			return err
		}
		select {
		case <-f.Ok():
			return nil
		case err := <-f.Err():
			return fmt.Errorf("not stored: %w", err)
		}
	}, nil
}
