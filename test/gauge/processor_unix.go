//go:build unix

package gauge

import (
	"syscall"
	"time"
)

// Processor returns the time that processors have spent on the process, in user mode and in the
// kernel, or 0 where the system does not say. Other load of the machine does not count.
func Processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(syscall.TimevalToNsec(u.Utime) + syscall.TimevalToNsec(u.Stime))
}
