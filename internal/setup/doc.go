// Package setup makes of the options of client and server what the layers below
// need, with all defaults resolved and all contradictions reported.
package setup
