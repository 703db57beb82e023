// Package run has what the smallest examples have around their geminio: flags for
// the address, TLS and the log, the end on a signal, exit codes.
package run
