// Package websocket carries the connections of geminio over WebSockets, for servers behind
// HTTP proxies and for clients in browsers.
//
// On the server, a [Listener] is both a net.Listener, for server.NewListener, and an
// http.Handler, for the path of an HTTP server:
//
//	l := websocket.NewListener(nil)
//	http.Handle("/geminio", l)
//	go http.ListenAndServe(":8080", nil)
//	srv, err := server.NewListener(l) // AcceptEnd returns the clients
//
// On the client, [Dialer] makes the dialer of NewEndWithDialer and NewRetryEndWithDialer:
//
//	end, err := client.NewRetryEndWithDialer(websocket.Dialer("ws://localhost:8080/geminio", nil))
//
// TLS is the business of the HTTP server and of the URL, wss://. The bytes of a connection
// travel in binary messages, whose boundaries have no meaning; docs/wire.md of geminio has the
// rules. Both sides need the subprotocol [Subprotocol].
//
// # The net.Conn
//
// The connections are of type [*Conn]. They differ from a TCP connection in these points:
//
//   - A deadline that passes while Read or Write waits closes the connection.
//   - Close sends a close frame, and waits up to ten seconds for that of the other side.
//     geminio closes the TCP connection below if that takes long.
//   - Read returns io.EOF after a close frame with the status 1000 or 1001.
//   - A text message closes the connection with the status 1003.
package websocket
