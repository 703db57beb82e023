package conn

// State is the state of a connection. It only grows.
type State uint32

const (
	// Handshaking: the two handshake packets are exchanged. A refusal, an error
	// or Config.HandshakeTimeout leads to Closed.
	Handshaking State = iota
	// Open: frames go both ways.
	Open
	// Draining: one side has sent GoAway. Frames still go both ways, for the work
	// that began before.
	Draining
	// Closing: this side writes the frames that are ready and then Close. Frames
	// that arrive are discarded. The state ends when both sides have sent Close,
	// when the transport ends, or after Config.Linger.
	Closing
	// Closed: the transport is closed.
	Closed
)

var stateNames = [...]string{"handshaking", "open", "draining", "closing", "closed"}

// String returns the name of the state.
func (s State) String() string { return stateNames[s] }

// setState enters s, unless the state is s already or a later one. It reports whether
// it has entered s. Only setState changes the state. The caller holds c.mu.
func (c *Conn) setState(s State) bool {
	if State(c.state.Load()) >= s {
		return false
	}
	c.state.Store(uint32(s))
	c.change()
	return true
}

// State returns the present state.
func (c *Conn) State() State { return State(c.state.Load()) }
