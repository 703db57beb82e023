package prometheus

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/test/kit"
)

// TestAllocations bounds the allocations of the events of a call.
func TestAllocations(t *testing.T) {
	s := NewCollector(nil).Stats()
	e := geminio.CallEvent{Method: "greet", Duration: time.Millisecond}
	got := testing.AllocsPerRun(100, func() {
		s.CallBegin(e)
		s.CallEnd(e)
	})
	if !kit.Race {
		assert.Zero(t, got)
	}
}

// BenchmarkCall measures the events of a call.
func BenchmarkCall(b *testing.B) {
	s := NewCollector(nil).Stats()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		e := geminio.CallEvent{Method: "greet", Duration: time.Millisecond}
		for p.Next() {
			s.CallBegin(e)
			s.CallEnd(e)
		}
	})
}

// BenchmarkCollect measures a scrape of ten thousand Ends.
func BenchmarkCollect(b *testing.B) {
	c := NewCollector(nil)
	r := registered(b, c)
	for range 10_000 {
		everything(c)
	}
	for b.Loop() {
		if _, err := r.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
