// Package wire1 tests Ends whose peers speak wire 1, the wire of the library's earlier
// releases, in both roles.
package wire1
