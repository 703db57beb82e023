// Package server makes the Ends of servers.
//
// A [Server] accepts connections of any number of listeners, shakes hands with any number of
// clients at the same time, and returns an End for each client. [New] and [Server.Serve] make one
// for several listeners, such as TCP and WebSocket, and [Listen] and [NewListener] for a single one.
// [NewEndWithConn] returns an End over a single connection.
//
// # How a Server works
//
// One goroutine for each listener accepts connections (accept.go). Each connection is a clientConn
// with a goroutine of its own, which shakes hands, starts the End and exchanges methods
// (client_conn.go). AcceptEnd returns the Ends in the order in which they become ready
// (server.go).
//
// The state of a Server about its clients is in three tables. The identities have the ids of
// the connected clients, and decide about a second client with the same id (identities.go). The
// sessions have the messages that clients which reconnect have delivered (sessions.go,
// share.go). The resumables have the Ends whose sessions can be resumed (resume.go).
package server
