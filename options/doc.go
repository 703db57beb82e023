// Package options has the options of single operations: of a call, a publication, a new
// request, a new message, a new stream and a hijack. It also has the [Limits] that the options
// of packages client and server share.
//
// Each kind of options has a constructor, which sets nothing, setters, and a function that
// merges several values. A nil pointer, an empty struct and the result of the constructor stand
// for the defaults. Operations do not change their options. So several operations may use one
// value at the same time, as long as none of its setters is called.
package options
