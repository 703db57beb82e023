//go:build !race

package application

// slowness is by how much loads are divided.
const slowness = 1
