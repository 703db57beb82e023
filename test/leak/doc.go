// Package leak is how the tests of a package find that a goroutine has outlived them.
package leak
