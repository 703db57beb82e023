// Package bench holds the benchmarks of the library, each beside raw TCP doing
// comparable work in the same run: only the ratio of the two means anything on a
// shared machine. Its tests are ceilings: what an operation may allocate, and what
// an idle stream and an idle End may hold.
package bench
