// Package clock runs functions later, on the runtime's timers or on a timing
// wheel that the user brings.
//
// [Runtime] is the default and adds nothing to time.AfterFunc. [FromTimer]
// serves the SetTimer option, with which one wheel of go-timer carries the
// timeouts of thousands of Ends.
package clock
