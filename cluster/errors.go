package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/singchia/geminio"
)

// These errors are returned by the operations of a [Node]. Test for them with errors.Is.
var (
	// ErrClientOffline refuses an operation for a client id that no client of the cluster has, or whose
	// connection is being shut down. The operation was not executed.
	ErrClientOffline = errors.New("no client of the cluster has this id")
	// ErrNodeLost matches the error of an operation for a client of another node that cannot be
	// reached, or that has left the cluster while the operation was under way. The error is a
	// [*geminio.InterruptedError], which says whether the client may have acted, with a
	// [*NodeError] as its cause.
	ErrNodeLost = errors.New("the node cannot be reached")
	// ErrNoNATS matches the error of an operation that needs NATS, while this node has no
	// connection to NATS or JetStream does not answer. If the operation had begun, the error is
	// a [*geminio.InterruptedError].
	ErrNoNATS = errors.New("no connection to NATS")
	// ErrClosed refuses an operation of a Node that was closed.
	ErrClosed = errors.New("the node is closed")
)

// NodeError names the node that cannot be reached. It matches [ErrNodeLost] and Err.
type NodeError struct {
	Node string // the id of the node
	Err  error  // what is known about it; may be nil
}

// Error returns a text with the id of the node.
func (e *NodeError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("node %s: %v", e.Node, ErrNodeLost)
	}
	return fmt.Sprintf("node %s: %v: %v", e.Node, ErrNodeLost, e.Err)
}

// Unwrap returns ErrNodeLost, and Err if it is not nil.
func (e *NodeError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrNodeLost}
	}
	return []error{ErrNodeLost, e.Err}
}

// nodeLost returns the error of an operation whose node cannot be reached.
func nodeLost(node string, maybe bool, err error) error {
	return &geminio.InterruptedError{MaybeExecuted: maybe, Cause: &NodeError{Node: node, Err: err}}
}

// noNATS returns the error of an operation that was under way when NATS could not be reached.
func noNATS(maybe bool) error {
	return &geminio.InterruptedError{MaybeExecuted: maybe, Cause: ErrNoNATS}
}

// unanswered returns the error of a request to NATS that has failed with err. The error of ctx has
// precedence.
func unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrNoNATS, err)
}

// codeOf is geminio.CodeOf, which also has codes for errors of the library that an End does not send
// itself.
func codeOf(err error) geminio.Code {
	switch {
	case errors.Is(err, geminio.ErrGoingAway):
		return geminio.CodeGoingAway
	case errors.Is(err, geminio.ErrReplaced):
		return geminio.CodeReplaced
	case errors.Is(err, geminio.ErrRemoteRPCUnregistered):
		return geminio.CodeNoMethod
	}
	return geminio.CodeOf(err)
}
