//go:build !race

package kit

// Race reports whether the program was built with the race detector.
const Race = false

const slowdown = 1
