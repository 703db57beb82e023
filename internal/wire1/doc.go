// Package wire1 serves peers that speak only wire 1, the wire of the library's
// earlier releases. It has a codec for the packets of wire 1, and a Translator between
// such a peer and a conn.Conn that speaks wire 2.
//
// The Translator is a value without I/O: packets of the peer and frames of the Conn go
// in, frames for the Conn and packets for the peer come out. It gives the Conn credit
// as the peer's transport takes what the Conn has sent, and holds what the peer has
// sent until the Conn gives credit for it.
//
// A Transport runs a Translator between the two: it is the net.Conn of the Conn.
package wire1
