package main

import (
	"errors"
	"fmt"

	"github.com/singchia/geminio/test/gauge"
)

// bounds are the largest cost of an End and of a stream, in bytes of heap and stacks.
type bounds struct {
	perEnd    int64 // one End
	perStream int64 // both sides of one stream

	// The memory that remains after closing: the runtime keeps half a KiB for each
	// goroutine that existed, and a map does not shrink.
	leftOfEnd, leftOfStream int64
}

var asStated = bounds{perEnd: 12 << 10, perStream: 1280, leftOfEnd: 1 << 10, leftOfStream: 128}

// The resources of a process that do not depend on the numbers.
const (
	ownMemory     = 2 << 20
	ownGoroutines = 8
	ownFiles      = 8
)

// verdict prints the measured values and collects those above their bounds. One goroutine
// uses it.
type verdict struct{ errs []error }

func (v *verdict) fail(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format, args...))
}

func (v *verdict) err() error { return errors.Join(v.errs...) }

// share prints the cost of each of n things, and compares it with a number of bytes and
// goroutines.
func (v *verdict) share(what string, n int, u gauge.Usage, bytes int64, goroutines int) {
	each := func(x int) float64 { return float64(x) / float64(n) }
	fmt.Printf("  %-24s each %5d bytes of heap, %4d of stacks, %.4f goroutines",
		what, u.Heap/int64(n), u.Stacks/int64(n), each(u.Goroutines))
	if u.Resident != 0 { // the system reports it
		fmt.Printf(", %.4f descriptors, %5d bytes resident", each(u.Files), u.Resident/int64(n))
	}
	fmt.Println()
	v.hold(what, n, u, bytes, goroutines)
}

// hold compares the cost of each of n things with a number of bytes and goroutines.
func (v *verdict) hold(what string, n int, u gauge.Usage, bytes int64, goroutines int) {
	if most := int64(n)*bytes + ownMemory; u.Memory() > most {
		v.fail("%s: %d bytes of heap and stacks, at most %d are allowed", what, u.Memory(), most)
	}
	if most := n*goroutines + ownGoroutines; u.Goroutines > most {
		v.fail("%s: %d goroutines, at most %d are allowed", what, u.Goroutines, most)
	}
}

// rest prints the memory that is left of n closed things, and compares it with a number
// of bytes for each.
func (v *verdict) rest(what string, n int, u gauge.Usage, bytes int64) {
	fmt.Printf("  %-24s %d KiB of heap, %d KiB of stacks, %d goroutines, %d descriptors\n",
		what, u.Heap/1024, u.Stacks/1024, u.Goroutines, u.Files)
	v.hold(what, n, u, bytes, 0)
	if u.Files > ownFiles {
		v.fail("%s: %d descriptors, at most %d are allowed", what, u.Files, ownFiles)
	}
}

// calls prints the results of calls, and requires that none has failed.
func (v *verdict) calls(what string, n int, c calls) {
	fmt.Printf("  %-24s %d, %d failed; half took less than %v, 99%% less than %v, the longest %v\n",
		what, c.Made, c.Failed, c.Half, c.Most, c.Longest)
	if c.Failed > 0 {
		v.fail("%s: %d of %d failed, the first with: %s", what, c.Failed, c.Made, c.First)
	}
	if c.Made < n {
		v.fail("%s: only %d for %d Ends", what, c.Made, n)
	}
}
