// Package bench has the benchmarks of the library. Each runs beside comparable work over
// raw TCP, since on a shared machine only the ratio of the two is meaningful. The tests
// bound the allocations of operations and the memory of an idle stream and an idle End.
package bench
