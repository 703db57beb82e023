package main

// The HTTP API for operators.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/singchia/geminio"
)

// defaultKick is how long a device is kept away if the operator names no time.
const defaultKick = time.Minute

// device is a device that is online.
type device struct {
	Name   string   `json:"name"`
	ID     uint64   `json:"id"`
	Remote string   `json:"remote"`
	Last   *reading `json:"last,omitempty"` // its last reading
	Status *status  `json:"status,omitempty"`
}

// httpError is an error with an HTTP status.
type httpError struct {
	code int
	text string
}

func (e *httpError) Error() string { return e.text }

// api returns the handler of the API.
func (s *fleetServer) api() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), statusOf(err))
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(answer)
		})
	}
	handle("GET /devices", s.list)
	handle("GET /devices/{name}", s.status)
	handle("POST /devices/{name}/reboot", s.reboot)
	handle("DELETE /devices/{name}", s.kick)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	return mux
}

// statusOf returns the HTTP status for an error of a device or of the operator.
func statusOf(err error) int {
	var own *httpError
	var remote *geminio.RemoteError
	switch {
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &remote):
		return http.StatusBadGateway // the device has answered with an error
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return http.StatusServiceUnavailable // the connection was lost
}

// find returns the End of the device that a request names.
func (s *fleetServer) find(r *http.Request) (geminio.End, error) {
	name := r.PathValue("name")
	end, ok := s.srv.End(idOf(name))
	if !ok {
		return nil, &httpError{http.StatusNotFound, name + " is offline"}
	}
	return end, nil
}

// describe describes the device at the other side of an End.
func (s *fleetServer) describe(end geminio.End) device {
	d := device{Name: nameOf(end), ID: end.ClientID(), Remote: end.RemoteAddr().String()}
	if last, ok := s.store.latest(d.Name); ok {
		d.Last = &last
	}
	return d
}

// list answers with all devices that are online, by name.
func (s *fleetServer) list(*http.Request) (any, error) {
	all := []device{}
	for end := range s.srv.Ends() {
		all = append(all, s.describe(end))
	}
	slices.SortFunc(all, func(a, b device) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// status asks a device for its status.
func (s *fleetServer) status(r *http.Request) (any, error) {
	end, err := s.find(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.callTimeout)
	defer cancel()
	answer, err := getStatus.Call(ctx, end, struct{}{})
	if err != nil {
		return nil, err
	}
	d := s.describe(end)
	d.Status = &answer
	return d, nil
}

// reboot reboots a device.
func (s *fleetServer) reboot(r *http.Request) (any, error) {
	end, err := s.find(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.callTimeout)
	defer cancel()
	return doReboot.Call(ctx, end, reboot{Reason: r.FormValue("reason")})
}

// kick ends the connection of a device with a reason, and keeps the device away for some time.
func (s *fleetServer) kick(r *http.Request) (any, error) {
	end, err := s.find(r)
	if err != nil {
		return nil, err
	}
	stay, err := time.ParseDuration(cmp.Or(r.FormValue("for"), defaultKick.String()))
	if err != nil || stay <= 0 {
		return nil, &httpError{http.StatusBadRequest, "for must be a time above 0, such as 1m"}
	}
	reason := cmp.Or(r.FormValue("reason"), "no reason given")
	s.admission.kick(nameOf(end), reason, stay)
	return struct{}{}, geminio.CloseWithError(end, codeKicked, reason)
}
