// Package wire1 tests Ends of both sides whose peers speak wire 1, the wire of the earlier
// library.
package wire1
