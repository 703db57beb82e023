// Package client makes Ends that dial: NewEnd and its relatives connect to a
// server, shake hands and return an End that works until it is closed or the
// connection breaks.
package client
