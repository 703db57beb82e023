// Package paths tests how fast the library is on paths through a network: with long round
// trips, much bandwidth, changes, and slow readers. The paths are emulated in synctest bubbles,
// so the times are exact and do not depend on the machine.
package paths
