//go:build unix

package cli

import (
	"os"
	"syscall"
)

// figuresSignals are the signals that ask for a line of figures.
var figuresSignals = []os.Signal{syscall.SIGUSR1}
