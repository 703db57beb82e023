package options

import "github.com/singchia/geminio/internal/merge"

// HijackOptions are the options of Hijack. Without a pattern, Hijack handles every call.
type HijackOptions struct {
	// Match tells whether Hijack handles the calls whose method matches Pattern (true) or
	// the others (false). nil stands for true.
	Match *bool
	// Pattern is a regular expression of package regexp. It may match any part of the
	// method, unless it is anchored. nil stands for no pattern.
	Pattern *string
}

// Hijack returns HijackOptions in which nothing is set.
func Hijack() *HijackOptions {
	return &HijackOptions{}
}

// SetMatch has Hijack handle the calls whose method matches a regular expression, or, if match
// is false, the other calls. Hijack returns an error if the pattern does not compile.
func (opt *HijackOptions) SetMatch(match bool, pattern string) {
	opt.Match = &match
	opt.Pattern = &pattern
}

// MergeHijackOptions returns a new value. Each of its fields has the last value that is set in opts. It
// skips nil entries, and changes none.
func MergeHijackOptions(opts ...*HijackOptions) *HijackOptions { return merge.Merge(opts...) }
