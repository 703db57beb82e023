// Package attack tests servers and clients against peers that violate the protocol: programs
// of raw frames on a plain net.Conn. Each test has the name of an attack, states the cost that
// the attack may have (bytes of heap, goroutines, time) as constants, and measures it. Other
// clients of the same listener must be served during each attack.
//
// Most tests run twice: in memory, in a testing/synctest bubble, where times are exact, and
// over TCP, whose transport is other code. Long tables run only in memory. The measurements
// include the memory and goroutines of the attacker, which runs in the same process.
package attack
