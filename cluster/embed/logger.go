package embed

import (
	"fmt"
	"log/slog"
	"sync"
)

// logger is the logger of a NATS server. It keeps the first fatal error, after which the server ends the
// process if no logger prevents that. All methods are safe for concurrent use.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex
	first error
}

// fatal returns the first fatal error, or nil.
func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

// Fatalf implements server.Logger.
func (l *logger) Fatalf(format string, v ...any) {
	l.Errorf(format, v...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = fmt.Errorf(format, v...)
	}
}

// Errorf implements server.Logger.
func (l *logger) Errorf(format string, v ...any) { l.log.Error("nats: " + fmt.Sprintf(format, v...)) }

// Warnf implements server.Logger.
func (l *logger) Warnf(format string, v ...any) { l.log.Warn("nats: " + fmt.Sprintf(format, v...)) }

// Noticef implements server.Logger.
func (*logger) Noticef(string, ...any) {}

// Debugf implements server.Logger.
func (*logger) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (*logger) Tracef(string, ...any) {}
