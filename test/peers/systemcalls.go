package main

import (
	"fmt"
	"os"
	"strings"
)

// systemCalls returns how many system calls of this process have read or written. It returns 0
// on systems other than Linux.
func systemCalls() (sum float64) {
	text, _ := os.ReadFile("/proc/self/io")
	for line := range strings.Lines(string(text)) {
		for _, name := range []string{"syscr", "syscw"} {
			var n float64
			if _, err := fmt.Sscanf(line, name+": %f", &n); err == nil {
				sum += n
			}
		}
	}
	return sum
}
