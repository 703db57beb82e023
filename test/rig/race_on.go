//go:build race

package rig

// slowness is by how much Amount divides under the race detector.
const slowness = 8
