// Package clusterinfo has the types that describe a cluster of servers. Package cluster, a module of its
// own, returns them, and packages inspect and prometheus show them. They are in a package of their own, so
// that neither of those depends on NATS.
package clusterinfo
