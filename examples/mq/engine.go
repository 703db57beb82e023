package main

// Where messages are stored: NATS JetStream, in this process or elsewhere.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/singchia/geminio/examples/internal/lock"
)

const (
	// maxPayload bounds a message in the engine of this process.
	maxPayload = 1 << 20
	// headroom is what of the payload that NATS takes is for its headers.
	headroom = 4 << 10
	// engineAnswer is how long the engine may take for an answer before it is asked
	// again.
	engineAnswer = 5 * time.Second
	// maxUnderWay bounds the messages of all producers that are being stored.
	maxUnderWay = 1 << 16
)

// engine is a connection to JetStream, and the server if it is in this process.
type engine struct {
	js     jetstream.JetStream
	nc     *nats.Conn
	server *server.Server // nil: it is elsewhere
	unlock func()         // of the directory
}

// embed starts a server in this process that listens nowhere and stores in a
// directory, up to so many bytes; 0: three quarters of what is free.
func embed(ctx context.Context, dir string, maxStore int64, sync bool, log *slog.Logger) (*engine, error) {
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("the storage in %s: %w", dir, err)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "mq", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: dir, SyncAlways: sync, JetStreamMaxStore: maxStore,
		MaxPayload: maxPayload + headroom,
	})
	if err != nil {
		unlock()
		return nil, err
	}
	l := &natsLog{log: log}
	s.SetLoggerV2(l, false, false, false)
	s.Start()
	const look = 100 * time.Millisecond
	for !s.ReadyForConnections(look) { // it reads what there is
		if err = errors.Join(ctx.Err(), l.fatal()); err != nil {
			break
		}
	}
	if err == nil {
		err = l.fatal()
	}
	if err == nil {
		err = (&engine{server: s}).recovered()
	}
	var e *engine
	if err == nil {
		e, err = connect("", log, nats.InProcessServer(s))
	}
	if err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		unlock()
		return nil, fmt.Errorf("the storage in %s: %w", dir, err)
	}
	e.server, e.unlock = s, unlock
	return e, nil
}

// connect connects to a server or a cluster.
func connect(url string, log *slog.Logger, opts ...nats.Option) (*engine, error) {
	nc, err := nats.Connect(url, append(opts,
		nats.Name("mq broker"),
		nats.MaxReconnects(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("the connection to the storage is lost", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Warn("connected to the storage again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Info("the storage reports", "err", err)
		}),
	)...)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc,
		jetstream.WithDefaultTimeout(engineAnswer),
		jetstream.WithPublishAsyncTimeout(engineAnswer),
		jetstream.WithPublishAsyncMaxPending(maxUnderWay),
	)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), engineAnswer)
		defer cancel()
		_, err = js.AccountInfo(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &engine{js: js, nc: nc, unlock: func() {}}, nil
}

// problems returns what a server in this process says of its health: of the topics that it
// has not found whole in its files, and the rest.
func (e *engine) problems() (lost []string, rest error) {
	const notRecovered = "could not be recovered"
	for _, p := range e.server.Healthz(&server.HealthzOptions{Details: true}).Errors {
		if p.Type == server.HealthzErrorStream && strings.HasSuffix(p.Error, notRecovered) {
			lost = append(lost, p.Stream)
		} else if rest == nil {
			rest = errors.New(p.Error)
		}
	}
	return lost, rest
}

// health returns why a server in this process does not store what it is given, nil if it
// does.
func (e *engine) health() error {
	_, err := e.problems()
	return err
}

// recovered returns an error if a server in this process, which has just been started, does
// not have all topics that there are messages of. A topic that was being made when the broker
// was killed has none. Its files are removed, and it is made again.
func (e *engine) recovered() error {
	lost, err := e.problems()
	if err != nil {
		return err
	}
	for _, stream := range lost {
		blocks, err := filepath.Glob(filepath.Join(e.server.JetStreamConfig().StoreDir, "*", "streams", stream, "msgs", "*.blk"))
		if err != nil {
			return err
		}
		for _, block := range blocks {
			if info, err := os.Stat(block); err != nil || info.Size() > 0 {
				return fmt.Errorf("the topic %s cannot be read, and has messages in %s", strings.TrimPrefix(stream, streamPrefix), filepath.Dir(block))
			}
		}
		dirs, err := filepath.Glob(filepath.Join(e.server.JetStreamConfig().StoreDir, "*", "streams", stream))
		if err != nil {
			return err
		}
		for _, dir := range dirs { // or the topic that is made again could not be read later
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// capacity returns how many bytes all topics may have, and how many of them are reserved,
// if that is known.
func (e *engine) capacity() (all, reserved int64, known bool) {
	if e.server == nil {
		return 0, 0, false
	}
	conf := e.server.JetStreamConfig()
	_, reserved, err := e.server.JetStreamReservedResources()
	if conf == nil || err != nil {
		return 0, 0, false
	}
	return conf.MaxStore, reserved, true
}

// maxMessage is the largest message that the engine takes.
func (e *engine) maxMessage() int { return int(e.nc.MaxPayload()) - headroom }

// close ends the connection, and the server if it is in this process.
func (e *engine) close() {
	e.nc.FlushTimeout(engineAnswer) // the last acknowledgements
	e.nc.Close()
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
	e.unlock()
}

// natsLog writes what a server logs.
type natsLog struct {
	log *slog.Logger

	mu  sync.Mutex
	err error // of Fatalf
}

func (l *natsLog) Noticef(format string, v ...any) { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *natsLog) Debugf(format string, v ...any)  { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *natsLog) Tracef(format string, v ...any)  { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *natsLog) Warnf(format string, v ...any)   { l.log.Info("nats: " + fmt.Sprintf(format, v...)) }
func (l *natsLog) Errorf(format string, v ...any)  { l.log.Error("nats: " + fmt.Sprintf(format, v...)) }

// Fatalf implements server.Logger: the server does not work.
func (l *natsLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf(format, v...)
	}
}

func (l *natsLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// lockDir makes a directory, if need be, and sees to it that it is this process's alone, until
// unlock or the end of the process.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock.File(file); err != nil {
		file.Close()
		if err == lock.ErrTaken {
			err = errors.New("another broker has it")
		}
		return nil, err
	}
	return func() { file.Close() }, nil
}
