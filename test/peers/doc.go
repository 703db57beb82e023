// Command peers does the same work over one loopback connection with geminio, raw TCP and
// other libraries, and compares the figures: as a Markdown table and as a picture. Both
// sides of the connection are in this process.
//
// Start reading in peer.go, which defines a peer and lists all peers; each has a file
// peer_*.go. The probe*.go files measure, rows.go has the rows of the table and the bars
// for geminio, and report.go and picture.go show the results.
package main
