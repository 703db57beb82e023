// Package leak fails the tests of a package that leave goroutines.
package leak
