// Package clock runs functions later, on the timers of the runtime or on a timing
// wheel of the user.
//
// [Runtime] is the default; it calls time.AfterFunc. [FromTimer] implements the
// option SetTimer: one wheel of go-timer can have the timeouts of thousands of
// Ends.
package clock
