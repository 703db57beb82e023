//go:build race

package application

// slowness is by how much loads are divided: everything is many times slower under the
// race detector.
const slowness = 5
