package cli

// The exit codes of all examples.
const (
	ExitOK     = 0 // the program has done its work
	ExitFailed = 1 // something has failed
	ExitUsage  = 2 // the command line is invalid
)

// ExitCodes explains the exit codes, for usage texts.
const ExitCodes = `The exit code is 0 if the program has done its work, 1 if something has failed, 2 if the
command line is invalid.
`
