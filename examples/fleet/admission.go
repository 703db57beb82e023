package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/names"
	"github.com/singchia/geminio/metadata"
)

// admission is the delegate that admits devices. Its methods are safe for concurrent use.
type admission struct {
	*delegate.UnimplementedDelegate
	tokens *cli.Tokens
	log    *slog.Logger
	seldom cli.Seldom

	mu     sync.Mutex
	kicked map[string]kick // by name
}

// kick keeps a device away.
type kick struct {
	reason string
	until  time.Time
}

// Authenticate implements delegate.AuthenticateDelegate. The text of its error reaches the device. It
// is also called for each connection on which a device resumes its session.
func (a *admission) Authenticate(_ context.Context, device delegate.ConnInfo) (uint64, error) {
	name := first(device.Metadata, keyName)
	err := a.admit(name, first(device.Metadata, keyToken))
	if err != nil {
		level := slog.LevelInfo
		if a.seldom.Now("") { // repeated attempts must not fill the log
			level = slog.LevelWarn
		}
		a.log.Log(context.Background(), level, "a device was refused", "name", name, "err", err)
		return 0, err
	}
	return idOf(name), nil
}

// admit returns an error if a device may not connect.
func (a *admission) admit(name, token string) error {
	if err := names.Check(name); err != nil {
		return err
	}
	if err := a.tokens.Check(name, token); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := a.kicked[name]
	left := time.Until(k.until)
	if ok && left <= 0 {
		delete(a.kicked, name)
	}
	if ok && left > 0 {
		return &geminio.RefusedError{Code: codeKicked, Text: k.reason, RetryAfter: left}
	}
	return nil
}

// kick refuses a device for some time.
func (a *admission) kick(name, reason string, stay time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kicked == nil {
		a.kicked = make(map[string]kick)
	}
	a.kicked[name] = kick{reason: fmt.Sprintf("kicked: %s", reason), until: time.Now().Add(stay)}
}

// nameOf returns the name of the device at the other side of an End.
func nameOf(end geminio.End) string { return first(metadata.From(end), keyName) }

// first returns the first value of a key, and "" if there is none.
func first(md metadata.MD, key string) string {
	values := md.Get(key)
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
