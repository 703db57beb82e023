package middleware

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/singchia/geminio"
)

// Limits are the limits of Concurrency.
type Limits struct {
	// Default is the largest number of running calls of each method that Methods does not
	// have. 0 and negative numbers stand for no limit.
	Default int
	// Methods has the limits of single methods, in the same way.
	Methods map[string]int
	// Code is the code of the error of a refused call. It is a code of the application, or 0
	// for geminio.CodeLimit: the error of the caller then matches geminio.ErrTooMany.
	Code geminio.Code
}

// Concurrency returns a middleware that bounds the running calls of each method. It refuses a call
// beyond the limit at once, with the code of the limits. The calls of all Ends for which the value is
// used count together, and so do the calls of a method on all streams. l.Methods is copied.
//
// In contrast, SetMaxHandlers has calls wait at the caller, for each connection and for all methods
// together.
//
// Concurrency panics if an application may not choose the code (see geminio.Coder).
func Concurrency(l Limits) geminio.Middleware {
	if l.Code == geminio.CodeOK {
		l.Code = geminio.CodeLimit
	}
	if code := geminio.CodeOf(&refusal{code: l.Code}); code != l.Code {
		panic(fmt.Sprintf("middleware: an application must not choose the code %d", l.Code))
	}
	running := running{limits: l, calls: make(map[string]int)}
	running.limits.Methods = make(map[string]int, len(l.Methods))
	maps.Copy(running.limits.Methods, l.Methods)
	return func(next geminio.RPC) geminio.RPC {
		return func(ctx context.Context, req geminio.Request, resp geminio.Response) {
			method := req.Method()
			limit := running.limit(method)
			if limit <= 0 {
				next(ctx, req, resp)
				return
			}
			if !running.begin(method, limit) {
				resp.SetError(&refusal{l.Code, fmt.Sprintf("too many calls of %q: %d are running", method, limit)})
				return
			}
			defer running.end(method)
			next(ctx, req, resp)
		}
	}
}

// running counts the running calls of each method. Its methods are safe for concurrent use.
type running struct {
	limits Limits // read-only

	mu    sync.Mutex
	calls map[string]int // without methods that have none, since the peer chooses the names
}

// limit returns the limit of a method.
func (r *running) limit(method string) int {
	if limit, found := r.limits.Methods[method]; found {
		return limit
	}
	return r.limits.Default
}

// begin counts a call of a method. It reports false if limit calls are running.
func (r *running) begin(method string, limit int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls[method] >= limit {
		return false
	}
	r.calls[method]++
	return true
}

// end undoes begin.
func (r *running) end(method string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls[method]--; r.calls[method] == 0 {
		delete(r.calls, method)
	}
}

// refusal is the error of a call that a middleware refuses.
type refusal struct {
	code geminio.Code
	text string
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

// Code implements geminio.Coder.
func (r *refusal) Code() geminio.Code { return r.code }
