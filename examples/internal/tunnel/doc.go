// Package tunnel joins connections in pairs, for the examples that carry TCP over geminio.
//
// A direction of a connection can end in an orderly way (the FIN of TCP, the half close of
// geminio) while the other direction continues, and a connection can break. A tunnel must keep the
// two apart: a client that reads an orderly end takes the bytes before it for complete. geminio
// keeps them apart for one connection. A chain of connections needs more, since a hop that stops
// closes its streams in an orderly way. So the sender of a direction also sends a message on the
// stream, with the number of the bytes, and a direction without that message has not ended in an
// orderly way. A side that breaks a connection sends the reason in another message.
package tunnel
