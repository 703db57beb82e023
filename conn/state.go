package conn

// State is where a connection is in its life. It only ever grows.
type State uint32

const (
	// Handshaking: the two handshake packets are under way. A refusal, an error
	// or the handshake's deadline leads to Closed.
	Handshaking State = iota
	// Open: frames go both ways.
	Open
	// Draining: one side has said GoAway. Frames go both ways still, for the work
	// that had begun.
	Draining
	// Closing: this side has nothing to say but what is left to write and then
	// Close; what arrives is thrown away. Left when both sides have said Close,
	// when the transport ends, or when the time for lingering is up.
	Closing
	// Closed: the transport is closed.
	Closed
)

var stateNames = [...]string{"handshaking", "open", "draining", "closing", "closed"}

// String returns the name of the state.
func (s State) String() string { return stateNames[s] }

// setState is the one place that changes the state. It reports whether it did:
// a state that was reached already, or passed, is not entered. c.mu is held.
func (c *Conn) setState(s State) bool {
	if State(c.state.Load()) >= s {
		return false
	}
	c.state.Store(uint32(s))
	return true
}

// State returns the present state.
func (c *Conn) State() State { return State(c.state.Load()) }
