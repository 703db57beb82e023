// Package guard calls functions that users have given to the library: delegates,
// callbacks, dialers, loggers, the methods of errors. Such a function may panic, end its
// goroutine with runtime.Goexit, or return an error whose methods panic. Package guard
// turns each of these into an error, so that only the client, stream or call in question
// fails.
package guard
