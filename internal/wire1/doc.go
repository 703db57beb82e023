// Package wire1 serves peers that speak only wire 1, the wire of the earlier releases of this
// library. It has a codec for the packets of wire 1, and a Translator between such a peer and
// a conn.Conn, which speaks wire 2.
//
// A Translator does no I/O. Its inputs are packets of the peer and frames of the Conn. Its
// outputs are frames for the Conn and packets for the peer. It grants credit to the Conn when
// the transport of the peer has taken the data of the Conn. It holds data of the peer until the
// Conn grants credit for it.
//
// A Transport runs a Translator. It is the net.Conn of the Conn, and reads and writes the
// net.Conn of the peer.
package wire1
