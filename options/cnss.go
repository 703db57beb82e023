package options

import "strconv"

// Cnss is the delivery guarantee of a message (short for consistency).
type Cnss byte

const (
	// CnssAtMostOnce sends a message without asking for an answer: Publish
	// returns as soon as it is queued, and the message is lost if the connection
	// ends before it arrived.
	CnssAtMostOnce Cnss = 1
	// CnssAtLeastOnce has Publish wait for the receiver's Done or Error. A
	// publisher that repeats a message after an error may deliver it twice. It
	// is the default.
	CnssAtLeastOnce Cnss = 2
)

// String returns "at most once" or "at least once", and "cnss(N)" for any other
// value.
func (c Cnss) String() string {
	switch c {
	case CnssAtMostOnce:
		return "at most once"
	case CnssAtLeastOnce:
		return "at least once"
	}
	return "cnss(" + strconv.Itoa(int(c)) + ")"
}
