// Package api tests that the names of the earlier library exist and have the same types, and that
// the methods and signatures of later names stay.
package api
