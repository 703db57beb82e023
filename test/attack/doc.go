// Package attack has a peer that breaks the rules: a program of raw frames, on a
// plain net.Conn, against a real server. Each test is named after what the server
// withstands, states what that may cost (bytes of heap, goroutines, seconds) as
// constants, and measures it. In each of them other clients of the same listener
// are served meanwhile.
//
// Most tests run twice: in memory, in a testing/synctest bubble, where times are
// exact, and over TCP, whose transport is other code; long tables only in memory.
// What is measured includes the attacker's own memory and goroutines, since it lives
// in the same process.
package attack
