package main

import (
	"errors"
	"fmt"

	"github.com/singchia/geminio/test/gauge"
)

// bounds are what an End and a stream may cost, in bytes of heap and stacks.
type bounds struct {
	perEnd    int64 // an End, of one side
	perStream int64 // a stream, both sides together

	// What stays when they are closed: the runtime keeps half a KiB for each goroutine that
	// there was, and a map does not become smaller.
	leftOfEnd, leftOfStream int64
}

var asStated = bounds{perEnd: 12 << 10, perStream: 1280, leftOfEnd: 1 << 10, leftOfStream: 128}

// What a process may use for itself, whatever the numbers.
const (
	ownMemory     = 2 << 20
	ownGoroutines = 8
	ownFiles      = 8
)

// verdict prints what was measured and keeps what is above its bound. It is for one
// goroutine.
type verdict struct{ errs []error }

func (v *verdict) fail(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format, args...))
}

func (v *verdict) err() error { return errors.Join(v.errs...) }

// share prints what each of n things costs, and wants it to be at most so many bytes and
// goroutines.
func (v *verdict) share(what string, n int, u gauge.Usage, bytes int64, goroutines int) {
	each := func(x int) float64 { return float64(x) / float64(n) }
	fmt.Printf("  %-24s each %5d bytes of heap, %4d of stacks, %.4f goroutines",
		what, u.Heap/int64(n), u.Stacks/int64(n), each(u.Goroutines))
	if u.Resident != 0 { // the system says
		fmt.Printf(", %.4f descriptors, %5d bytes resident", each(u.Files), u.Resident/int64(n))
	}
	fmt.Println()
	v.hold(what, n, u, bytes, goroutines)
}

// hold wants each of n things to cost at most so many bytes and goroutines.
func (v *verdict) hold(what string, n int, u gauge.Usage, bytes int64, goroutines int) {
	if most := int64(n)*bytes + ownMemory; u.Memory() > most {
		v.fail("%s: %d bytes of heap and stacks, at most %d are allowed", what, u.Memory(), most)
	}
	if most := n*goroutines + ownGoroutines; u.Goroutines > most {
		v.fail("%s: %d goroutines, at most %d are allowed", what, u.Goroutines, most)
	}
}

// rest prints what is left of n things that are closed, and wants it to be nothing but
// at most so many bytes of each.
func (v *verdict) rest(what string, n int, u gauge.Usage, bytes int64) {
	fmt.Printf("  %-24s %d KiB of heap, %d KiB of stacks, %d goroutines, %d descriptors\n",
		what, u.Heap/1024, u.Stacks/1024, u.Goroutines, u.Files)
	v.hold(what, n, u, bytes, 0)
	if u.Files > ownFiles {
		v.fail("%s: %d descriptors, at most %d are allowed", what, u.Files, ownFiles)
	}
}

// calls prints how calls went, and wants none to have failed.
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
