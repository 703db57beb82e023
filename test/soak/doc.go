// Command soak keeps a server and clients busy for a long time: streams, calls, messages,
// closes, connections that break, slow readers. The sessions of the clients are resumed.
// Other clients come and go, and some speak wire 1. The command samples heap, goroutines,
// file descriptors and counters, prints them, draws them as an SVG, and fails if one of
// them grows. "make soak" runs it for half an hour.
package main
