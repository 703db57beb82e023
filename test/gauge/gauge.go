package gauge

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"time"
)

// Usage is what the process used at a moment, or of two moments the difference.
type Usage struct {
	Heap       int64 // bytes in use after a collection
	Stacks     int64 // bytes of the stacks of goroutines
	Goroutines int
	Files      int   // open file descriptors; 0 where the system does not list them
	Resident   int64 // bytes of the process that are in memory; 0 where the system does not say
}

// Take collects garbage, what is in pools too, and returns what is left.
func Take() Usage {
	var u Usage
	files, _ := os.ReadDir("/proc/self/fd") // elsewhere there are none to count
	u.Files = len(files)
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.Heap, u.Stacks = int64(m.HeapAlloc), int64(m.StackInuse)
	u.Goroutines = runtime.NumGoroutine()
	u.Resident = resident()
	return u
}

// resident looks for the line of the resident set, in kilobytes.
func resident() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, line, _ := bytes.Cut(status, []byte("\nVmRSS:"))
	var kilobytes int64
	fmt.Sscan(string(line), &kilobytes)
	return kilobytes << 10
}

// Patience is how long what is about to go may take, when nothing else goes on.
const Patience = time.Minute

// Settle takes the usage until it is right, which nothing else tells of, and returns the
// last one: after so long a wait, one that is not right.
func Settle(wait time.Duration, right func(Usage) bool) Usage {
	end := time.Now().Add(wait)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if u := Take(); right(u) || time.Now().After(end) {
			return u
		}
		time.Sleep(pause)
	}
}

// Since returns what is used more than before.
func (u Usage) Since(before Usage) Usage {
	return Usage{
		Heap:       u.Heap - before.Heap,
		Stacks:     u.Stacks - before.Stacks,
		Goroutines: u.Goroutines - before.Goroutines,
		Files:      u.Files - before.Files,
		Resident:   u.Resident - before.Resident,
	}
}

// Memory is the bytes of the heap and the stacks.
func (u Usage) Memory() int64 { return u.Heap + u.Stacks }

// Mega is bytes in megabytes.
func Mega(bytes int64) float64 { return float64(bytes) / 1e6 }
