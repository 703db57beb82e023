package pairs

import (
	"context"
	"sync"
)

// OutgoingKey is the key of the *Outgoing of a context.
type OutgoingKey struct{}

// IncomingKey is the key of the *List that a request has brought.
type IncomingKey struct{}

// AnswerKey is the key of the *Answer of a handler's context.
type AnswerKey struct{}

// Outgoing is what an operation with a context sends. It is not changed once it is in the
// context.
type Outgoing struct {
	List List
	N    int   // the number of pairs
	Err  error // why the operation must fail; nil if List is valid
}

// FromContext returns what an operation with ctx sends. err is why the operation must fail.
func FromContext(ctx context.Context) (l List, err error) {
	if o, _ := ctx.Value(OutgoingKey{}).(*Outgoing); o != nil {
		return o.List, o.Err
	}
	return nil, nil
}

// Answer has the metadata of a handler's answer. Its methods are safe for concurrent use.
type Answer struct {
	mu   sync.Mutex
	list List
	err  error
}

// Set adds the pairs of md, in place of those that have the same keys. err is not nil if md is
// not valid: Get returns the first such error.
func (a *Answer) Set(md map[string][]string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.err != nil:
	case err != nil:
		a.err = err
	default:
		a.list = append(a.list.Without(md), Encode(md)...)
		a.err = a.list.CheckCount()
	}
}

// Get returns all pairs.
func (a *Answer) Get() (List, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list, a.err
}
