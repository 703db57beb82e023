package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/cluster"
)

// Each kind of error has its status, and says whether the device may have acted.
func TestFailureOf(t *testing.T) {
	lost := &cluster.NodeError{Node: "a", Err: io.ErrUnexpectedEOF}
	remote := func(code geminio.Code) error { return &geminio.RemoteError{Code: code, Text: "x"} }
	for _, test := range []struct {
		err   error
		code  int
		maybe bool
		of    geminio.Code
	}{
		{badRequest("no %s", "x"), http.StatusBadRequest, false, 0},
		{&http.MaxBytesError{Limit: 1}, http.StatusRequestEntityTooLarge, false, 0},
		{remote(geminio.CodeTooLarge), http.StatusRequestEntityTooLarge, false, geminio.CodeTooLarge},
		{cluster.ErrClientOffline, http.StatusNotFound, false, 0},
		{cluster.ErrClosed, http.StatusServiceUnavailable, false, 0},
		{fmt.Errorf("x: %w", cluster.ErrNoNATS), http.StatusServiceUnavailable, false, 0},
		{&geminio.InterruptedError{MaybeExecuted: true, Cause: cluster.ErrNoNATS}, http.StatusServiceUnavailable, true, 0},
		{geminio.ErrTooMany, http.StatusTooManyRequests, false, 0},
		{remote(geminio.CodeLimit), http.StatusTooManyRequests, false, geminio.CodeLimit},
		{context.DeadlineExceeded, http.StatusGatewayTimeout, true, 0},
		{remote(geminio.CodeDeadline), http.StatusGatewayTimeout, false, geminio.CodeDeadline},
		{&geminio.InterruptedError{MaybeExecuted: true, Cause: lost}, http.StatusBadGateway, true, 0},
		{&geminio.InterruptedError{Cause: lost}, http.StatusBadGateway, false, 0},
		{&geminio.InterruptedError{MaybeExecuted: true, Cause: remote(geminio.CodeClosed)}, http.StatusBadGateway, true, 0},
		{remote(1234), http.StatusBadGateway, false, 1234},
		{errors.New("x"), http.StatusBadGateway, false, 0},
	} {
		want := failure{Status: test.code, Error: test.err.Error(), Code: test.of, MaybeExecuted: test.maybe}
		assert.Equal(t, want, failureOf(test.err), "%T %v", test.err, test.err)
	}
}
