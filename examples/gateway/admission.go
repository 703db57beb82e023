package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/cli"
)

// keyToken is the key of a device's token in the metadata of its handshake.
const keyToken = "token"

// tokenVariable is the environment variable with the token of the devices.
const tokenVariable = "GATEWAY_TOKEN"

// admission is the delegate that admits devices. A device asks for its id (SetClientID), which is its
// name in the table of -tokens. It is safe for concurrent use.
type admission struct {
	*delegate.UnimplementedDelegate
	tokens *cli.Tokens
	log    *slog.Logger
	seldom cli.Seldom
}

var _ delegate.AuthenticateDelegate = (*admission)(nil)

// Authenticate implements delegate.AuthenticateDelegate. The text of its error reaches the device.
func (a *admission) Authenticate(_ context.Context, device delegate.ConnInfo) (uint64, error) {
	err := a.admit(device)
	if err != nil {
		level := slog.LevelInfo
		if a.seldom.Now("") { // repeated attempts must not fill the log
			level = slog.LevelWarn
		}
		a.log.Log(context.Background(), level, "a device was refused", "id", device.WantedID, "err", err)
		return 0, err
	}
	return device.WantedID, nil
}

// admit returns an error if a device may not connect.
func (a *admission) admit(device delegate.ConnInfo) error {
	if device.WantedID == 0 { // the library of one node does not know which ids others have chosen
		return errors.New("a device needs an id of its own, above 0")
	}
	token := ""
	if values := device.Metadata.Get(keyToken); len(values) > 0 {
		token = values[0]
	}
	return a.tokens.Check(strconv.FormatUint(device.WantedID, 10), token)
}

// nameOf returns the name of the device at the other side of an End.
func nameOf(end geminio.End) string { return deviceName(end.ClientID()) }

// deviceName returns the name of a device on pages and in logs.
func deviceName(id uint64) string { return fmt.Sprintf("device %d", id) }
