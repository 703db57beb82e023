// Package tunnel joins connections in pairs, for the examples that carry TCP over
// geminio: what one of the two says the other gets to hear, and how it ends too.
//
// A direction can end well (TCP's FIN, geminio's half close) while the other goes
// on, and a connection can break. Both must arrive as what they are: a client that
// reads a clean end takes what it has for the whole. geminio tells the two apart,
// but only for one hop: a side that reads an error from its TCP connection closes
// its stream well. So here a direction of a stream ends well only if its sender has
// also said so, in a message on the stream, with the number of the bytes; and a side
// that gives up says why, in another. Bytes and messages of one stream are what
// geminio offers for that.
package tunnel
