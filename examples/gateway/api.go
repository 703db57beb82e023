package main

// The HTTP API for operators.

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/singchia/geminio/cluster"
	"github.com/singchia/geminio/options"
)

const (
	// maxBody is the largest body of a request, in bytes.
	maxBody = 4 << 20
	// defaultLimit and maxLimit are how many clients one answer has.
	defaultLimit, maxLimit = 100, 10_000
)

// clientAt is a client that is online.
type clientAt struct {
	ID    uint64 `json:"id"`
	Node  string `json:"node"`  // the id of its node
	Host  string `json:"host"`  // the name of its node
	State string `json:"state"` // "online" or "interrupted"
}

// clientPage is the answer to GET /clients.
type clientPage struct {
	Total   int        `json:"total"` // clients that are online
	Clients []clientAt `json:"clients"`
	Next    uint64     `json:"next,omitempty"` // the value of after for the next page; 0: there is none
}

// nodeAt is a node that is alive or leaving.
type nodeAt struct {
	ID      string `json:"id"`
	Host    string `json:"host"`
	Clients int    `json:"clients"`
	Leaving bool   `json:"leaving,omitempty"` // it finishes what it has begun
	This    bool   `json:"this,omitempty"`    // it is the one that answers
}

// reached is the answer to a broadcast.
type reached struct {
	Reached int    `json:"reached"`
	Failed  int    `json:"failed"`
	Error   string `json:"error,omitempty"` // of nodes that could not be reached
}

// raw is an answer that is not made JSON.
type raw []byte

// api returns the handler of the API.
func (g *gateway) api() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			answer, err := f(r)
			if err != nil {
				failureOf(err).write(w)
				return
			}
			writeAnswer(w, answer)
		})
	}
	handle("GET /clients", g.list)
	handle("GET /clients/{id}", g.locate)
	handle("POST /clients/{id}/call/{method}", g.call)
	handle("POST /clients/{id}/publish/{topic}", g.publish)
	handle("GET /groups/{group}", g.members)
	handle("PUT /groups/{group}/{id}", g.joinGroup)
	handle("DELETE /groups/{group}/{id}", g.leaveGroup)
	handle("POST /groups/{group}/broadcast/{topic}", g.broadcast)
	handle("GET /nodes", g.nodes)
	handle("GET /health", g.health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		failure{Status: http.StatusNotFound, Error: "there is no " + r.Method + " " + r.URL.Path}.write(w)
	})
	// A page of another site must not act through the browser of an operator.
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		failure{Status: http.StatusForbidden, Error: "the request comes from another site"}.write(w)
	}))
	return cross.Handler(mux)
}

// writeAnswer writes an answer: nothing for nil, the bytes of raw, and JSON otherwise.
func writeAnswer(w http.ResponseWriter, answer any) {
	data, isRaw := answer.(raw)
	switch {
	case answer == nil:
		w.WriteHeader(http.StatusNoContent)
	case isRaw && !json.Valid(data):
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Write(data)
	case isRaw:
		w.Header().Set("Content-Type", "application/json")
		w.Write(data)
	default:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(answer)
	}
}

// idFrom returns the id that a request names.
func idFrom(r *http.Request) (uint64, error) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil || id == 0 {
		return 0, badRequest("%q is no id: it is a number above 0", r.PathValue("id"))
	}
	return id, nil
}

// groupFrom returns the group that a request names.
func groupFrom(r *http.Request) (string, error) {
	group := r.PathValue("group")
	if len(group) > 128 {
		return "", badRequest("the name of a group has at most 128 bytes")
	}
	return group, nil
}

// bounded returns a context for an operation with devices.
func (g *gateway) bounded(r *http.Request) (context.Context, context.CancelFunc, error) {
	timeout, err := time.ParseDuration(cmp.Or(r.URL.Query().Get("timeout"), g.callTimeout.String()))
	if err != nil || timeout <= 0 {
		return nil, nil, badRequest("timeout must be a time above 0, such as 500ms")
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(timeout, g.callTimeout))
	return ctx, cancel, nil
}

// target returns what an operation with one device needs: a context, the id and the body.
func (g *gateway) target(r *http.Request) (ctx context.Context, cancel context.CancelFunc, id uint64, body []byte, err error) {
	if id, err = idFrom(r); err != nil {
		return nil, nil, 0, nil, err
	}
	if body, err = io.ReadAll(r.Body); err != nil {
		return nil, nil, 0, nil, err
	}
	ctx, cancel, err = g.bounded(r)
	return ctx, cancel, id, body, err
}

// hosts returns the names of the nodes, by id.
func (g *gateway) hosts() map[string]string {
	hosts := make(map[string]string)
	for _, n := range g.node.Nodes() {
		hosts[n.ID] = n.Host
	}
	return hosts
}

// list answers with the clients that are online, by id.
func (g *gateway) list(r *http.Request) (any, error) {
	after, err := strconv.ParseUint(cmp.Or(r.URL.Query().Get("after"), "0"), 10, 64)
	if err != nil {
		return nil, badRequest("after must be an id")
	}
	limit, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("limit"), strconv.Itoa(defaultLimit)))
	if err != nil || limit < 1 || limit > maxLimit {
		return nil, badRequest("limit must be a number from 1 to %d", maxLimit)
	}
	page := clientPage{Clients: []clientAt{}}
	hosts := g.hosts()
	for c := range g.node.Clients(r.Context()) {
		page.Total++
		if c.ID > after {
			page.Clients = append(page.Clients, clientAt{c.ID, c.Node, hosts[c.Node], c.State.String()})
		}
	}
	slices.SortFunc(page.Clients, func(a, b clientAt) int { return cmp.Compare(a.ID, b.ID) })
	if len(page.Clients) > limit {
		page.Clients = page.Clients[:limit]
		page.Next = page.Clients[limit-1].ID
	}
	return page, nil
}

// locate answers with the node of a client.
func (g *gateway) locate(r *http.Request) (any, error) {
	id, err := idFrom(r)
	if err != nil {
		return nil, err
	}
	c, err := g.node.Locate(id)
	if err != nil {
		return nil, err
	}
	return clientAt{c.ID, c.Node, g.hosts()[c.Node], c.State.String()}, nil
}

// call calls a method of a client, and answers with its answer.
func (g *gateway) call(r *http.Request) (any, error) {
	ctx, cancel, id, body, err := g.target(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	answer, err := g.node.Call(ctx, id, r.PathValue("method"), body)
	if err != nil {
		return nil, err
	}
	return raw(answer.Data), nil
}

// publish publishes a message to a client, and answers when the client has acknowledged it.
func (g *gateway) publish(r *http.Request) (any, error) {
	ctx, cancel, id, body, err := g.target(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return nil, g.node.Publish(ctx, id, r.PathValue("topic"), body)
}

// members answers with the ids of the members of a group.
func (g *gateway) members(r *http.Request) (any, error) {
	group, err := groupFrom(r)
	if err != nil {
		return nil, err
	}
	return append([]uint64{}, g.node.Members(group)...), nil
}

// joinGroup makes a client a member of a group.
func (g *gateway) joinGroup(r *http.Request) (any, error) { return g.member(r, g.node.JoinGroup) }

// leaveGroup ends the membership of a client in a group.
func (g *gateway) leaveGroup(r *http.Request) (any, error) { return g.member(r, g.node.LeaveGroup) }

// member changes the membership of a client in a group.
func (g *gateway) member(r *http.Request, change func(context.Context, uint64, string) error) (any, error) {
	ctx, cancel, id, _, err := g.target(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	group, err := groupFrom(r)
	if err != nil {
		return nil, err
	}
	return nil, change(ctx, id, group)
}

// broadcast publishes a message to the members of a group, or stores it for them. It fails only if it has
// reached no node, or is not stored.
func (g *gateway) broadcast(r *http.Request) (any, error) {
	group, err := groupFrom(r)
	if err != nil {
		return nil, err
	}
	ack, err := strconv.ParseBool(cmp.Or(r.URL.Query().Get("ack"), "false"))
	if err != nil {
		return nil, badRequest("ack must be true or false")
	}
	store, err := strconv.ParseBool(cmp.Or(r.URL.Query().Get("store"), "false"))
	if err != nil {
		return nil, badRequest("store must be true or false")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	ctx, cancel, err := g.bounded(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if store {
		return nil, g.node.BroadcastStored(ctx, group, r.PathValue("topic"), body)
	}
	opt := options.NewMessage()
	opt.SetCnss(options.CnssAtMostOnce)
	if ack {
		opt.SetCnss(options.CnssAtLeastOnce)
	}
	got, err := g.node.Broadcast(ctx, group, r.PathValue("topic"), body, opt)
	if err != nil && got.Reached == 0 {
		return nil, err
	}
	answer := reached{Reached: got.Reached, Failed: got.Failed}
	if err != nil {
		answer.Error = err.Error()
	}
	return answer, nil
}

// nodes answers with the nodes that are alive, by name.
func (g *gateway) nodes(*http.Request) (any, error) {
	all := []nodeAt{}
	for _, n := range g.node.Nodes() {
		all = append(all, nodeAt{n.ID, n.Host, n.Clients, n.Leaving, n.ID == g.node.ID()})
	}
	slices.SortFunc(all, func(a, b nodeAt) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// errNotReady is the error of a node that does not know the cluster.
var errNotReady = fmt.Errorf("%w, or it was back only now", cluster.ErrNoNATS)

// health answers whether the node knows the cluster. A load balancer asks for it.
func (g *gateway) health(*http.Request) (any, error) {
	if s := g.node.Stats(); !s.Connected {
		return nil, errNotReady
	}
	return struct {
		Node string `json:"node"`
	}{g.node.ID()}, nil
}
