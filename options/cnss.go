package options

import "strconv"

// Cnss is the delivery guarantee of a message (short for consistency).
type Cnss byte

const (
	// CnssAtMostOnce: Publish returns as soon as the message is queued, and there is no
	// answer. The message is lost if the connection ends before the message arrives.
	CnssAtMostOnce Cnss = 1
	// CnssAtLeastOnce: Publish waits until the receiver calls Done or Error. If the
	// publisher repeats a message after an error, the message may be received twice. This
	// is the default.
	CnssAtLeastOnce Cnss = 2
)

// String returns "at most once", "at least once", or "cnss(N)" for another value N.
func (c Cnss) String() string {
	switch c {
	case CnssAtMostOnce:
		return "at most once"
	case CnssAtLeastOnce:
		return "at least once"
	}
	return "cnss(" + strconv.Itoa(int(c)) + ")"
}
