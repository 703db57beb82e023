package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/cluster"
)

// failure is the JSON of an error of the API.
type failure struct {
	Status int    `json:"-"`
	Error  string `json:"error"`
	// Code is the code of an error that the device has answered with. See geminio.Code.
	Code geminio.Code `json:"code,omitempty"`
	// MaybeExecuted is set if the device may have acted on the request.
	MaybeExecuted bool `json:"maybe_executed,omitempty"`
}

// usageError is an error of the request of an operator.
type usageError string

func (e usageError) Error() string { return string(e) }

// badRequest makes a usageError.
func badRequest(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// failureOf describes an error for an operator.
func failureOf(err error) failure {
	f := failure{Error: err.Error(), Status: statusOf(err)}
	var remote *geminio.RemoteError
	var interrupted *geminio.InterruptedError
	switch {
	case errors.As(err, &interrupted):
		f.MaybeExecuted = interrupted.MaybeExecuted
	case errors.As(err, &remote):
		f.Code = remote.Code
	case errors.Is(err, context.DeadlineExceeded):
		f.MaybeExecuted = true // the device may still work
	}
	return f
}

// statusOf returns the HTTP status for an error.
func statusOf(err error) int {
	var usage usageError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &usage):
		return http.StatusBadRequest
	case errors.As(err, &large), errors.Is(err, geminio.ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, cluster.ErrClientOffline):
		return http.StatusNotFound
	case errors.Is(err, cluster.ErrNoNATS), errors.Is(err, cluster.ErrClosed):
		return http.StatusServiceUnavailable
	case errors.Is(err, geminio.ErrTooMany):
		return http.StatusTooManyRequests
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway // the device has answered with an error, or it or its node was lost
}

// write writes the failure as the answer.
func (f failure) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	json.NewEncoder(w).Encode(f)
}
