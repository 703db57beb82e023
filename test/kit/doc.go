// Package kit has what the tests of several packages share and what needs no End: transports
// and listeners of all kinds, a proxy and a dialer that break connections, readers and
// writers of raw frames, and operations that run in goroutines of their own.
//
// It imports no layer of this module above package packet, so that the tests of every layer
// above can use it. Package rig has what needs client and server.
package kit
