// Package server makes Ends for clients: Listen and NewListener accept
// connections, shake hands with any number of clients at the same time, and hand
// out an End for each that is done. NewEndWithConn does so for one connection.
package server
