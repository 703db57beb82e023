// Package wire1 serves peers that speak wire 1 alone, the wire of the library's
// earlier releases. It has a codec for the packets of wire 1.
package wire1
