package middleware

import (
	"context"
	"log/slog"
	"time"

	"github.com/singchia/geminio"
)

// Log returns a middleware that logs each call when its handler has returned, with the message
// "call" and the attributes
//
//	method          the called method
//	client, stream  the ids of the client and the stream
//	code            a geminio.Code, as a number; 0 for success
//	duration        the time of the handler and the inner middleware
//	request, response  the sizes of their data, in bytes
//	err             the text of the error, if there is one
//
// level returns the level of a call by its code; nil stands for [Level]. A nil log stands for
// slog.Default() at the time of the call. A call whose level is not enabled costs no more than the
// look at the clock. The log gets the context of the handler, so that a handler of slog can add what
// it knows of the context, such as a trace.
//
// A panic of the handler is logged with geminio.CodePanic, and continues.
func Log(log *slog.Logger, level func(geminio.Code) slog.Level) geminio.Middleware {
	if level == nil {
		level = Level
	}
	return func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			start := time.Now()
			returned := false
			defer func() {
				code, text := geminio.CodePanic, "the handler panicked"
				if returned {
					code, text = outcome(resp)
				}
				l := log
				if l == nil {
					l = slog.Default()
				}
				if at := level(code); l.Enabled(ctx, at) {
					l.LogAttrs(ctx, at, "call", attributes(req, resp, code, text, time.Since(start))...)
				}
			}()
			next(ctx, req, resp)
			returned = true
		}
	}
}

// Level is the level at which Log logs a call by default: slog.LevelError for CodePanic,
// slog.LevelWarn for CodeDeadline, CodeLimit and CodeTooLarge, and slog.LevelInfo for success and all
// other codes, which are answers of the application.
func Level(code geminio.Code) slog.Level {
	switch code {
	case geminio.CodePanic:
		return slog.LevelError
	case geminio.CodeDeadline, geminio.CodeLimit, geminio.CodeTooLarge:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// outcome returns the code and the text of the error of a response. The methods of the error may
// panic.
func outcome(resp geminio.Response) (code geminio.Code, text string) {
	err := resp.Error()
	if err == nil {
		return geminio.CodeOK, ""
	}
	defer func() {
		if recover() != nil {
			code, text = geminio.CodePanic, "the methods of the error panicked"
		}
	}()
	return geminio.CodeOf(err), err.Error()
}

// attributes returns the attributes of a call.
func attributes(req geminio.Request, resp geminio.Response, code geminio.Code, text string, took time.Duration) []slog.Attr {
	all := []slog.Attr{
		slog.String("method", req.Method()),
		slog.Uint64("client", req.ClientID()),
		slog.Uint64("stream", req.StreamID()),
		slog.Uint64("code", uint64(code)),
		slog.Duration("duration", took),
		slog.Int("request", len(req.Data())),
		slog.Int("response", len(resp.Data())),
	}
	if code != geminio.CodeOK {
		all = append(all, slog.String("err", text))
	}
	return all
}
