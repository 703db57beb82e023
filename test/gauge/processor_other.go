//go:build !unix

package gauge

import "time"

// Processor returns the time that processors have spent on the process, in user mode and in the
// kernel, or 0 where the system does not say. Other load of the machine does not count.
func Processor() time.Duration { return 0 }
