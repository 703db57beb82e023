// Package rules tests the source of the module against the rules of CONTRIBUTING.md: the imports
// between the layers, the documentation of packages and exported names, the length of files, and
// that the tests of all packages look for leaked goroutines.
package rules
