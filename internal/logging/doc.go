// Package logging adapts the logger of the SetLog option to log/slog, which the
// layers of this module write to.
package logging
