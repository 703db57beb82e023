//go:build race

package kit

// Race reports whether the program was built with the race detector.
const Race = true

// slowdown is the divisor of Amount under the race detector.
const slowdown = 8
