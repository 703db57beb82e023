// Package run has the common code of the smallest examples: flags for
// the address, TLS and the log, the end on a signal, exit codes.
package run
