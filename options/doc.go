// Package options holds the options of single operations: a call, a
// publication, a new request or message, a new stream, a hijack.
//
// Each kind has a constructor that sets nothing, setters, and a Merge function
// that combines several. A nil pointer, an empty struct and the constructor's
// result all mean the same: the defaults. Operations read options and never
// change them, so one value may serve many operations at once, as long as its setters
// are not called meanwhile.
package options
