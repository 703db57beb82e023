// Package rules holds the rules of the house as tests over the source of the
// module: which layer may import which, what is documented and where, how long a
// file may be, and that all tests look for leaked goroutines.
package rules
