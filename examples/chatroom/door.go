package main

import (
	"fmt"
	"log/slog"

	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/cli"
	"github.com/singchia/geminio/examples/internal/door"
)

// doorman is the server's delegate: it decides who may come in, and tells the room of
// connections that come and go.
//
// A client that reconnects may be faster than the server, which still holds the old
// connection and does not know yet that it is dead. So a name belongs to a session:
// GetClientID refuses the name to all other sessions, and gives a client the id that
// follows from its own. The listener replaces a connection by one with the same id:
// the ConnOffline of the old one comes before the ConnOnline of the new one.
type doorman struct {
	*delegate.UnimplementedDelegate
	room   *room
	tokens *cli.Tokens
	log    *slog.Logger
}

// GetClientID implements delegate.ServerDelegate. The text of its error reaches the
// client.
func (d doorman) GetClientID(_ uint64, meta []byte) (uint64, error) {
	who, err := readHello(meta)
	if err == nil {
		err = d.admit(who)
	}
	if err != nil {
		d.log.Info("a client was not let in", "name", who.Name, "err", err)
		return 0, err
	}
	return who.ClientID(), nil
}

// admit returns why a client is not let in.
func (d doorman) admit(who door.Hello) error {
	if err := d.tokens.Check(who.Name, who.Token); err != nil {
		return err
	}
	if other := d.tokens.Reserved(who.Name); other != "" {
		return fmt.Errorf("the name %s looks like %s, which belongs to somebody", who.Name, other)
	}
	return d.room.admit(who)
}

// ConnOnline implements delegate.ServerDelegate.
func (d doorman) ConnOnline(conn delegate.ConnDescriber) error {
	who, err := readHello(conn.Meta())
	if err != nil {
		return err
	}
	return d.room.enter(who, conn.RemoteAddr().String())
}

// ConnOffline implements delegate.ServerDelegate.
func (d doorman) ConnOffline(conn delegate.ConnDescriber) error {
	d.room.leave(conn.ClientID())
	return nil
}
