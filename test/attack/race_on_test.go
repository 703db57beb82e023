//go:build race

package attack

// slowness is by how much loads are divided: everything is many times slower under the
// race detector.
const slowness = 5
