// Package proc helps the tests of the example programs: it builds them, runs them
// as processes, reads what they print, and makes certificates.
package proc
