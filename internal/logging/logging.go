package logging

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jumboframes/armorigo/log"
)

// FromLogger returns a slog.Logger that writes to l, with one call of l for each record. The
// text of a record is its message and its attributes as key=value. Ambiguous values are
// quoted, and the keys of groups are joined with dots. Records below slog.LevelDebug go to
// Trace. A record between two levels goes to the method of the lower level. FromLogger does
// not write the time and the source of records. If l is nil, the logger discards all records.
func FromLogger(l log.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(&handler{logger: l})
}

// handler is a slog.Handler over a log.Logger. It is immutable, so it is safe for
// concurrent use if its logger is.
type handler struct {
	logger log.Logger
	// attrs is the text of the attributes of WithAttrs, with a space before each.
	attrs string
	// prefix has the names of the open groups, with a dot after each.
	prefix string
}

// Enabled returns true for every level. The logger itself selects the levels, and its
// interface does not report them.
func (h *handler) Enabled(context.Context, slog.Level) bool {
	return true
}

// Handle writes a record.
func (h *handler) Handle(_ context.Context, record slog.Record) error {
	var line strings.Builder
	line.WriteString(record.Message)
	line.WriteString(h.attrs)
	record.Attrs(func(attr slog.Attr) bool {
		appendAttr(&line, h.prefix, attr)
		return true
	})

	switch level := record.Level; {
	case level < slog.LevelDebug:
		h.logger.Trace(line.String())
	case level < slog.LevelInfo:
		h.logger.Debug(line.String())
	case level < slog.LevelWarn:
		h.logger.Info(line.String())
	case level < slog.LevelError:
		h.logger.Warn(line.String())
	default:
		h.logger.Error(line.String())
	}
	return nil
}

// WithAttrs returns a handler that adds attrs to every record.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var text strings.Builder
	text.WriteString(h.attrs)
	for _, attr := range attrs {
		appendAttr(&text, h.prefix, attr)
	}
	return &handler{logger: h.logger, attrs: text.String(), prefix: h.prefix}
}

// WithGroup returns a handler that puts name before the keys of all later attributes.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &handler{logger: h.logger, attrs: h.attrs, prefix: h.prefix + name + "."}
}

// appendAttr appends " key=value" to line, or that of each member if attr is a group.
func appendAttr(line *strings.Builder, prefix string, attr slog.Attr) {
	value := attr.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if attr.Key != "" {
			prefix += attr.Key + "."
		}
		for _, member := range value.Group() {
			appendAttr(line, prefix, member)
		}
		return
	}
	if attr.Equal(slog.Attr{}) {
		return
	}
	line.WriteByte(' ')
	line.WriteString(quote(prefix + attr.Key))
	line.WriteByte('=')
	if value.Kind() == slog.KindTime {
		line.WriteString(value.Time().Format(time.RFC3339Nano))
		return
	}
	line.WriteString(quote(value.String()))
}

// quote returns s, quoted if it is not a single printable word.
func quote(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '=' || r == '"' || r == unicode.ReplacementChar ||
			unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
	if plain {
		return s
	}
	return strconv.Quote(s)
}

// Contain returns a logger that writes to l. If the handler of l panics or ends its
// goroutine, the record is lost, and the caller of the logger does not notice.
func Contain(l *slog.Logger) *slog.Logger {
	if l.Handler() == slog.DiscardHandler {
		return l
	}
	return slog.New(&contained{l.Handler()})
}

// contained is the slog.Handler of Contain. It starts a goroutine for each record, because
// records are rare.
type contained struct{ to slog.Handler }

// Enabled returns true for every level. Handle asks the handler.
func (*contained) Enabled(context.Context, slog.Level) bool { return true }

// Handle writes a record.
func (c *contained) Handle(ctx context.Context, record slog.Record) error {
	return c.call(func() error {
		if !c.to.Enabled(ctx, record.Level) {
			return nil
		}
		return c.to.Handle(ctx, record)
	})
}

// WithAttrs returns a handler that adds attrs to every record.
func (c *contained) WithAttrs(attrs []slog.Attr) slog.Handler {
	to := c.to
	c.call(func() error { to = c.to.WithAttrs(attrs); return nil })
	return &contained{to}
}

// WithGroup returns a handler that puts name before the keys of all later attributes.
func (c *contained) WithGroup(name string) slog.Handler {
	to := c.to
	c.call(func() error { to = c.to.WithGroup(name); return nil })
	return &contained{to}
}

// call calls f in a new goroutine and waits for it. The value of a panic is discarded, because
// there is no other logger for it.
func (c *contained) call(f func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errors.New("the logger panicked or ended its goroutine")
		defer func() {
			recover()
			result <- err
		}()
		err = f()
	}()
	return <-result
}
