// Package tunnel joins connections in pairs, for the examples that carry TCP over
// geminio: what one of the two says the other gets to hear, and how it ends too.
//
// A direction can end well (TCP's FIN, geminio's half close) while the other goes
// on, and a connection can break. Both must arrive as what they are: a client that
// reads a clean end takes what it has for the whole. But a stream whose connection
// is lost reads io.EOF at an accepted End, just as after a half close. So here a
// direction of a stream ends well only if its sender has also said so, in a message
// on the stream, with the number of the bytes; and who gives up says why, in
// another. Bytes and messages of one stream are what geminio offers for that.
package tunnel
