// Package e2e tests pairs of Ends as their users have them: made by the
// packages client and server, over TCP, unix sockets, TLS and in-memory pipes.
package e2e
