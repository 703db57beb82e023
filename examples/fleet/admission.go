package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/names"
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

// GetClientID implements delegate.ServerDelegate. The text of its error reaches the device.
func (a *admission) GetClientID(_ uint64, meta []byte) (uint64, error) {
	name, err := a.admit(meta)
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

// admit returns the name of a device that may connect.
func (a *admission) admit(meta []byte) (name string, err error) {
	var h hello
	if err := json.Unmarshal(meta, &h); err != nil {
		return "", errors.New("this is not a device of the fleet")
	}
	if err := names.Check(h.Name); err != nil {
		return h.Name, err
	}
	if err := a.tokens.Check(h.Name, h.Token); err != nil {
		return h.Name, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := a.kicked[h.Name]
	left := time.Until(k.until)
	if ok && left <= 0 {
		delete(a.kicked, h.Name)
	}
	if ok && left > 0 {
		return h.Name, &geminio.RefusedError{Code: codeKicked, Text: k.reason, RetryAfter: left}
	}
	return h.Name, nil
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
func nameOf(end geminio.End) string {
	var h hello
	json.Unmarshal(end.Meta(), &h) // admit has decoded it before
	return h.Name
}
