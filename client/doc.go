// Package client makes Ends that dial: NewEnd and its relatives connect to a
// server, shake hands and return an End that works until it is closed or the
// connection breaks. NewRetryEndWithDialer returns one that makes the next connection
// then, until it is closed.
package client
