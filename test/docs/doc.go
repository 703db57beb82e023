// Package docs holds the tests of the documentation: the Go code in it compiles,
// and the files it links exist.
package docs
