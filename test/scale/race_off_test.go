//go:build !race

package main

const looseness = 1
