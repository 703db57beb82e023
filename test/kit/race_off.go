//go:build !race

package kit

// Race reports whether the program was built with the race detector.
const Race = false

// Slowdown is the number by which tests divide their loads.
const Slowdown = 1
