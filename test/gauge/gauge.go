package gauge

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"time"
)

// Usage has the resources that the process used at a moment, or the difference of two moments.
type Usage struct {
	Heap       int64 // bytes in use after a collection
	Stacks     int64 // bytes of the stacks of goroutines
	Goroutines int   // that exist
	Files      int   // open file descriptors; 0 where the system does not list them
	Resident   int64 // bytes of the process that are in memory; 0 where the system does not say
}

// Take collects garbage, that of sync.Pools too, and returns the usage after it.
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

// resident returns the size of the resident set, bytes, or 0 if the system does not report it.
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

// Patience is the time after which unused resources must be gone if the process is idle.
const Patience = time.Minute

// attempts is the number of times that Settle takes the usage before it sleeps.
const attempts = 8

// Settle takes the usage until right returns true for it, and returns the last usage. It
// gives up after wait.
//
// The first attempts follow each other without a pause, since a pause in a synctest bubble
// takes virtual time: the clock of the test moves, and the garbage collector does not get
// ahead.
func Settle(wait time.Duration, right func(Usage) bool) Usage {
	end := time.Now().Add(wait)
	for range attempts {
		if u := Take(); right(u) {
			return u
		}
	}
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if u := Take(); right(u) || time.Now().After(end) {
			return u
		}
		time.Sleep(pause)
	}
}

// Since returns the difference of u and before.
func (u Usage) Since(before Usage) Usage {
	return Usage{
		Heap:       u.Heap - before.Heap,
		Stacks:     u.Stacks - before.Stacks,
		Goroutines: u.Goroutines - before.Goroutines,
		Files:      u.Files - before.Files,
		Resident:   u.Resident - before.Resident,
	}
}

// Memory returns the bytes of the heap and the stacks.
func (u Usage) Memory() int64 { return u.Heap + u.Stacks }

// Mega returns a number of bytes in megabytes.
func Mega(bytes int64) float64 { return float64(bytes) / 1e6 }
