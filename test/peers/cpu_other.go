//go:build !unix

package main

import "time"

// cpuTime is 0: it is not known how to ask for it here.
func cpuTime() time.Duration { return 0 }
