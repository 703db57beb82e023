// Package rig is what the tests of several packages stand on: pairs of Ends over all
// kinds of transports, a proxy that breaks connections, and waits that end.
package rig
