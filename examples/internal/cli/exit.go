package cli

// The exit codes of all examples.
const (
	ExitOK     = 0 // all that was asked for was done
	ExitFailed = 1 // something was not done
	ExitUsage  = 2 // the command line makes no sense
)

// ExitCodes explains the exit codes, for usage texts.
const ExitCodes = `The exit code is 0 when all that was asked for was done, 1 when something was not, 2 when
the command line makes no sense.
`
