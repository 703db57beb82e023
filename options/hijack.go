package options

import "github.com/singchia/geminio/internal/merge"

// HijackOptions are the options of Hijack. Without a pattern every call is
// hijacked.
type HijackOptions struct {
	// Match says whether calls are hijacked whose method matches Pattern (true)
	// or whose method does not (false). nil means true.
	Match *bool
	// Pattern is a regular expression in the syntax of package regexp, found
	// anywhere in the method unless it is anchored. nil means no pattern.
	Pattern *string
}

// Hijack returns HijackOptions with nothing set: every call is hijacked.
func Hijack() *HijackOptions {
	return &HijackOptions{}
}

// SetMatch hijacks the calls whose method matches the regular expression
// pattern, or with match false those whose method does not. The pattern is
// compiled by Hijack, which returns an error for one that does not compile.
func (opt *HijackOptions) SetMatch(match bool, pattern string) {
	opt.Match = &match
	opt.Pattern = &pattern
}

// MergeHijackOptions combines opts into a new value, never nil: nil entries are
// skipped, and of a field set more than once the last one counts. The entries
// are not changed.
func MergeHijackOptions(opts ...*HijackOptions) *HijackOptions { return merge.Merge(opts...) }
