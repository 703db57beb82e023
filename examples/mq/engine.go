package main

// The storage of messages: NATS JetStream, in this process or in another server.

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
	// maxPayload bounds a message in a server of this process.
	maxPayload = 1 << 20
	// headroom is the part of the NATS payload that is reserved for headers.
	headroom = 4 << 10
	// engineAnswer is how long the engine waits for an answer before it repeats a
	// request.
	engineAnswer = 5 * time.Second
	// maxUnderWay bounds the messages of all producers that are being stored at a time.
	maxUnderWay = 1 << 16
)

// engine is a connection to JetStream, with the server if it runs in this process.
type engine struct {
	js     jetstream.JetStream
	nc     *nats.Conn
	server *server.Server // nil: it runs elsewhere
	unlock func()         // unlocks the directory
}

// embed starts a server in this process. It listens on no address and stores at most a
// given number of bytes in a directory; 0 means three quarters of the free space.
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
	for !s.ReadyForConnections(look) { // the server reads its files
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

// problems returns the problems that a server in this process reports: those of topics
// whose files are incomplete, and all others.
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

// health returns an error if a server in this process does not store messages.
func (e *engine) health() error {
	_, err := e.problems()
	return err
}

// recovered returns an error if a server in this process, which was just started, does
// not have all topics with messages. A topic that was being created when the broker was
// killed has no messages. Its files are removed, and it is created again.
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
		for _, dir := range dirs { // otherwise the new topic could not be read later
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// capacity returns the limit of the bytes of all topics, and the number of reserved
// bytes, if known.
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

// maxMessage returns the size of the largest message of the engine.
func (e *engine) maxMessage() int { return int(e.nc.MaxPayload()) - headroom }

// close ends the connection, and the server if it runs in this process.
func (e *engine) close() {
	e.nc.FlushTimeout(engineAnswer) // the last acknowledgements
	e.nc.Close()
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
	}
	e.unlock()
}

// natsLog passes on the log of a server.
type natsLog struct {
	log *slog.Logger

	mu  sync.Mutex
	err error // the text of Fatalf
}

func (l *natsLog) Noticef(format string, v ...any) { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *natsLog) Debugf(format string, v ...any)  { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *natsLog) Tracef(format string, v ...any)  { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *natsLog) Warnf(format string, v ...any)   { l.log.Info("nats: " + fmt.Sprintf(format, v...)) }
func (l *natsLog) Errorf(format string, v ...any)  { l.log.Error("nats: " + fmt.Sprintf(format, v...)) }

// Fatalf implements server.Logger: the server has failed.
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

// lockDir creates a directory if it does not exist, and locks it for this process until
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
