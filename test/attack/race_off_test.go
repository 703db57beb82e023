//go:build !race

package attack

// slowness is by how much loads are divided.
const slowness = 1
