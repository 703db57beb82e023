//go:build !geminiodebug

package multiplexer

// outTotals and inTotals count what has become of credit, ever, in the debug build.
type (
	outTotals struct{}
	inTotals  struct{}
)

func (outTotals) countGranted(uint32)  {}
func (outTotals) countTaken(uint32)    {}
func (outTotals) countRestored(uint32) {}

func (inTotals) countGranted(uint64)  {}
func (inTotals) countReceived(uint64) {}
func (inTotals) countReleased(uint64) {}
