// Package rig has what the tests of several packages share and what needs Ends: pairs of
// Ends over all kinds of transports, pairs of streams, and RPCs.
package rig
