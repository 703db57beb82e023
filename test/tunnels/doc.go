// Command tunnels carries the same HTTP traffic without a tunnel, through the examples
// relay and traversal, through chisel and through frp, and puts the rates side by side.
//
// Start reading in system.go, which lists the tunnels. The file load.go makes the traffic,
// rows.go lists the measurements, and report.go prints the outcome. The web server that the
// traffic goes to is this program too, in a process of its own (server.go).
package main
