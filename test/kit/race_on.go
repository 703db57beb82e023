//go:build race

package kit

// Race reports whether the program was built with the race detector.
const Race = true

// Slowdown is the number by which tests divide their loads, since the race detector makes
// everything many times slower. Amount divides by it.
const Slowdown = 8
