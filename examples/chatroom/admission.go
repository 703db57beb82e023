package main

import (
	"fmt"
	"log/slog"

	"github.com/singchia/geminio/delegate"
	"github.com/singchia/geminio/examples/internal/auth"
	"github.com/singchia/geminio/examples/internal/cli"
)

// admission is the delegate of the server. It admits clients or refuses them, and tells the
// room about connections that begin and end.
//
// A client may reconnect before the server notices that the old connection is dead.
// So a name belongs to a session: GetClientID refuses the name to all other sessions,
// and gives a client the id that is derived from its session. The listener replaces a
// connection by a new one with the same id. ConnOffline of the old one comes before
// ConnOnline of the new one.
type admission struct {
	*delegate.UnimplementedDelegate
	room   *room
	tokens *cli.Tokens
	log    *slog.Logger
}

// GetClientID implements delegate.ServerDelegate. The text of its error reaches the
// client.
func (d admission) GetClientID(_ uint64, meta []byte) (uint64, error) {
	who, err := readHello(meta)
	if err == nil {
		err = d.admit(who)
	}
	if err != nil {
		d.log.Info("a client was refused", "name", who.Name, "err", err)
		return 0, err
	}
	return who.ClientID(), nil
}

// admit returns an error if the client is refused.
func (d admission) admit(who auth.Hello) error {
	if err := d.tokens.Check(who.Name, who.Token); err != nil {
		return err
	}
	if other := d.tokens.Reserved(who.Name); other != "" {
		return fmt.Errorf("the name %s looks like %s, which is reserved", who.Name, other)
	}
	return d.room.admit(who)
}

// ConnOnline implements delegate.ServerDelegate.
func (d admission) ConnOnline(conn delegate.ConnDescriber) error {
	who, err := readHello(conn.Meta())
	if err != nil {
		return err
	}
	return d.room.enter(who, conn.RemoteAddr().String())
}

// ConnOffline implements delegate.ServerDelegate.
func (d admission) ConnOffline(conn delegate.ConnDescriber) error {
	d.room.leave(conn.ClientID())
	return nil
}
