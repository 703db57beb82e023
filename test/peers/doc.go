// Command peers does the same work over one loopback connection with geminio,
// raw TCP, and other libraries, and puts the figures side by side: as a Markdown
// table and as a picture. Both sides of the connection are in this process.
//
// Start reading in peer.go, which says what a peer is and lists them; each has a
// file peer_*.go. The probe*.go files measure, rows.go has the table's rows and
// the bars that geminio is held to, report.go and picture.go show the outcome.
package main
