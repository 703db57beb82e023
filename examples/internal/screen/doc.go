// Package screen makes text from the other side of a connection harmless for a terminal.
// Escape sequences in such a text could move the cursor, set the title or answer on the
// standard input. Characters without a width hide text, and bidirectional controls reorder it.
//
// [Text] and [Line] replace such characters by escapes of Go, like \x1b and \u202e. They keep
// legitimate uses: joined emoji, flags, and letters of scripts that need joiners. [Writer]
// does the same for all text that is written to a terminal, and changes no text that is
// written to a file or a pipe.
package screen
