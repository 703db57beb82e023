package nilarg

// Error is the error of an operation one of whose arguments is nil.
type Error struct {
	Operation string // in lower case
	Argument  string // names the argument
}

func (e *Error) Error() string { return e.Operation + ": the " + e.Argument + " is nil" }

// New returns an *Error.
func New(operation, argument string) error { return &Error{operation, argument} }
