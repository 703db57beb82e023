// Package screen makes text harmless that comes from the other side of a connection and goes
// to a terminal. A terminal obeys what is in it: escape sequences move the cursor, set the
// title and answer on the standard input; characters without a width hide text, and those
// that turn the direction of writing put it in another order.
//
// [Text] and [Line] show such characters as escapes of Go, like \x1b and \u202e. What they
// belong to legitimately stays: emoji that are joined, flags, and letters of scripts that
// need joiners. [Writer] does so for all that is written to a terminal, and changes nothing
// in what goes to a file or a pipe.
package screen
