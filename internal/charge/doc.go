// Package charge computes the credit that packets cost. docs/wire.md specifies the rules; both
// sides must agree on them.
package charge
