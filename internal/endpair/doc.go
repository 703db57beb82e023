// Package endpair makes the Ends of client and server over both ends of a transport.
package endpair
