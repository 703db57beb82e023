//go:build !unix

package cli

import "os"

// figuresSignals are the signals that ask for a line of figures.
var figuresSignals []os.Signal
