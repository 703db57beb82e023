package main

import (
	"github.com/singchia/geminio/delegate"
)

// door is the server's delegate: it decides who may come in, and tells the room of
// connections that come and go.
//
// A client that reconnects may be faster than the server, which still holds the old
// connection and does not know yet that it is dead. So a name belongs to a token:
// GetClientID refuses the name to all other tokens, and gives a client the id that
// follows from its own. The listener replaces a connection by one with the same id:
// the ConnOffline of the old one comes before the ConnOnline of the new one.
type door struct {
	*delegate.UnimplementedDelegate
	room *room
}

// GetClientID implements delegate.ServerDelegate. The text of its error reaches the
// client.
func (d door) GetClientID(_ uint64, meta []byte) (uint64, error) {
	who, err := readIdentity(meta)
	if err != nil {
		return 0, err
	}
	return who.clientID(), d.room.admit(who)
}

// ConnOnline implements delegate.ServerDelegate.
func (d door) ConnOnline(conn delegate.ConnDescriber) error {
	who, err := readIdentity(conn.Meta())
	if err != nil {
		return err
	}
	return d.room.enter(who, conn.RemoteAddr().String())
}

// ConnOffline implements delegate.ServerDelegate.
func (d door) ConnOffline(conn delegate.ConnDescriber) error {
	d.room.leave(conn.ClientID())
	return nil
}
