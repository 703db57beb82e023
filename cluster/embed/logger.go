package embed

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logger is the logger of a NATS server. It keeps the first fatal error, after which the server ends the
// process if no logger prevents that. All methods are safe for concurrent use.
type logger struct {
	log *slog.Logger

	mu       sync.Mutex
	first    error
	attempts map[string]time.Time // when a failed attempt to connect to another server was logged last, by its text
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

// Errorf implements server.Logger. A failed attempt to connect to another server, which may not have started yet, is a
// warning. A server makes such attempts for several connections at once, and the log gets one of them in a minute.
func (l *logger) Errorf(format string, v ...any) {
	text := "nats: " + fmt.Sprintf(format, v...)
	if !strings.HasPrefix(format, "Error trying to connect to route") {
		l.log.Error(text)
		return
	}
	l.mu.Lock()
	recent := time.Since(l.attempts[text]) < time.Minute
	if !recent {
		l.attempts[text] = time.Now()
	}
	l.mu.Unlock()
	if !recent {
		l.log.Warn(text)
	}
}

// Warnf implements server.Logger.
func (l *logger) Warnf(format string, v ...any) { l.log.Warn("nats: " + fmt.Sprintf(format, v...)) }

// Noticef implements server.Logger.
func (*logger) Noticef(string, ...any) {}

// Debugf implements server.Logger.
func (*logger) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (*logger) Tracef(string, ...any) {}
