// Package setup turns the options of client and server into the configurations of the
// layers below. It applies the defaults and reports contradictions.
package setup
