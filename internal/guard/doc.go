// Package guard calls functions that users have given to the library: delegates,
// callbacks, dialers, loggers, the methods of errors. Such a function may panic, end its
// goroutine with runtime.Goexit, or return an error whose methods panic. Package guard
// makes an error of each of these, so that it costs the client, stream or call in
// question and nothing else.
package guard
