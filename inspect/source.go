package inspect

import (
	"iter"
	"slices"

	"github.com/singchia/geminio"
)

// Source supplies the Ends that a Handler shows. A *server.Server is a Source.
type Source interface {
	// Ends returns the Ends of this moment. It is called for each page, from several
	// goroutines, and the range may end early.
	Ends() iter.Seq[geminio.End]
}

// SourceFunc is a function that is a Source. It must be safe for concurrent use.
type SourceFunc func() iter.Seq[geminio.End]

// Ends calls f.
func (f SourceFunc) Ends() iter.Seq[geminio.End] { return f() }

// Of returns a Source of single Ends, such as a *client.RetryEnd. Those that have ended are skipped.
func Of(ends ...geminio.End) Source {
	ends = slices.Clone(ends)
	return SourceFunc(func() iter.Seq[geminio.End] {
		return func(yield func(geminio.End) bool) {
			for _, end := range ends {
				select {
				case <-geminio.Done(end):
				default:
					if !yield(end) {
						return
					}
				}
			}
		}
	})
}
