//go:build !race

package rig

const slowness = 1
