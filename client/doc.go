// Package client makes the Ends of clients.
//
// [NewEnd], [NewEndWithDialer] and [NewEndWithConn] shake hands over one connection and return
// an End that lasts as long as the connection. [NewRetryEndWithDialer] returns a [RetryEnd],
// which makes another connection when it has lost one, until it is closed. [DialAny] connects to
// one of several addresses.
//
// # How a RetryEnd works
//
// Each connection is a link (retry_link.go), which has a plain End of package application. When
// a link ends, the goroutine of reconnect makes the next one, and lives until it has one.
//
// A call, a publication, a registration and the opening of a stream is an operation
// (retry_operation.go): it waits for a link that takes new work, makes an attempt there, and
// begins again if the rule of shouldRetry says so. A synchronous operation waits in its own
// goroutine (retry_wait.go). An asynchronous one is a job of a retryQueue while it waits
// (retry_queue.go), and has no goroutine. While there is no link, the outage counts how long
// operations have waited (retry_outage.go).
//
// Receive, AcceptStream, Read and Write each have a cursor, which says on which link they are
// (retry_cursor.go). They finish with one link before they continue with the next.
//
// If both sides keep sessions (SetResumeKeep), a link that loses its transport is interrupted
// and not lost. The goroutine of reconnect first tries to resume its session
// (retry_resume.go).
package client
