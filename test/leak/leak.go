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

// Run is Main for a TestMain that has to clean up. It returns the exit code.
func Run(m *testing.M) int {
	if code := m.Run(); code != 0 {
		return code
	}
	// goleak is first: it gives goroutines a moment to end or to block.
	if err := errors.Join(goleak.Find(), findBlocked()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// findBlocked returns an error if goroutines are blocked for ever, on objects that no running
// goroutine can reach. The garbage collector finds them if the program was built with
// GOEXPERIMENT=goroutineleakprofile, as in "make leaks".
//
// goleak reports most of these goroutines too, but not that they will never end.
func findBlocked() error {
	profile := pprof.Lookup("goroutineleak")
	if profile == nil {
		return nil
	}
	var text bytes.Buffer
	if err := profile.WriteTo(&text, 1); err != nil { // WriteTo looks for the goroutines, and Count does not
		return err
	}
	if n := profile.Count(); n > 0 {
		return fmt.Errorf("%d goroutines are blocked for ever:\n%s", n, &text)
	}
	return nil
}
