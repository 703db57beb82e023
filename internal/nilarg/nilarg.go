package nilarg

// Error reports that an argument of an operation is nil.
type Error struct {
	Operation string // the name of the operation, in lower case
	Argument  string // the name of the argument
}

// Error implements error.
func (e *Error) Error() string { return e.Operation + ": the " + e.Argument + " is nil" }

// New returns an *Error with these fields.
func New(operation, argument string) error { return &Error{operation, argument} }
