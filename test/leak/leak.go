package leak

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"testing"

	"go.uber.org/goleak"
)

// Main is a TestMain: it runs the tests, and fails if they leave a goroutine.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that has something to clean up. It returns the code to exit
// with.
func Run(m *testing.M) int {
	if code := m.Run(); code != 0 {
		return code
	}
	// goleak comes first: it gives those that are about to end, or to block, a moment.
	if err := errors.Join(goleak.Find(), findBlocked()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// findBlocked returns an error if goroutines are blocked for ever: on something that
// nobody who runs, or will run, can reach. The garbage collector tells, where it was built
// to (GOEXPERIMENT=goroutineleakprofile, as in "make leaks").
//
// They have been found as being left, too, unless goleak overlooks them; this says that
// they will never end.
func findBlocked() error {
	profile := pprof.Lookup("goroutineleak")
	if profile == nil {
		return nil
	}
	var text bytes.Buffer
	if err := profile.WriteTo(&text, 1); err != nil { // looks for them, which Count does not
		return err
	}
	if n := profile.Count(); n > 0 {
		return fmt.Errorf("%d goroutines are blocked for ever:\n%s", n, &text)
	}
	return nil
}
