// Package bench holds the benchmarks of the library, each beside raw TCP doing
// the same work in the same run: only the ratio of the two means anything on a
// shared machine.
package bench
