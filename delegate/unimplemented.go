package delegate

var (
	_ ClientDelegate = (*UnimplementedDelegate)(nil)
	_ ServerDelegate = (*UnimplementedDelegate)(nil)
	_ Delegate       = (*UnimplementedDelegate)(nil)
)

// UnimplementedDelegate is a Delegate whose callbacks accept everything and do nothing. An
// implementation of a delegate embeds a pointer to it, which may be nil, and has methods for
// the callbacks that it needs. It is safe for concurrent use.
type UnimplementedDelegate struct{}

// ConnOnline accepts the connection.
func (*UnimplementedDelegate) ConnOnline(ConnDescriber) error { return nil }

// ConnOffline does nothing.
func (*UnimplementedDelegate) ConnOffline(ConnDescriber) error { return nil }

// Heartbeat does nothing.
func (*UnimplementedDelegate) Heartbeat(ConnDescriber) error { return nil }

// GetClientID returns 0, which leaves the choice to the library.
func (*UnimplementedDelegate) GetClientID(wantedID uint64, meta []byte) (uint64, error) {
	return 0, nil
}

// DialogueOnline accepts the stream.
func (*UnimplementedDelegate) DialogueOnline(DialogueDescriber) error { return nil }

// DialogueOffline does nothing.
func (*UnimplementedDelegate) DialogueOffline(DialogueDescriber) error { return nil }

// RemoteRegistration does nothing.
func (*UnimplementedDelegate) RemoteRegistration(method string, clientID uint64, streamID uint64) {}

// EndReOnline does nothing.
func (*UnimplementedDelegate) EndReOnline(ClientDescriber) {}
