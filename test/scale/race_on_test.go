//go:build race

package main

// looseness is by how much bounds on bytes are wider: the race detector makes stacks
// larger and keeps things of its own.
const looseness = 4
