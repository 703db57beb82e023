package main

import (
	"context"
	"fmt"
	"iter"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/singchia/geminio"
	"github.com/singchia/geminio/clusterinfo"
	"github.com/singchia/geminio/inspect"
)

// twoNodes is a cluster of two nodes with some clients at each.
type twoNodes int

func (twoNodes) ID() string               { return "ID1" }
func (twoNodes) Stats() clusterinfo.Stats { return clusterinfo.Stats{Nodes: 2} }
func (twoNodes) Nodes() []clusterinfo.Node {
	now := time.Now()
	return []clusterinfo.Node{
		{ID: "ID1", Host: "gate-1", Addr: "10.0.0.1:1", Lease: time.Hour, Renewed: now, Load: clusterinfo.Load{Waiting: 3}},
		{ID: "ID2", Addr: "10.0.0.2:1", Leaving: true, Renewed: now, Link: &geminio.EndSnapshot{State: geminio.EndConnected, RoundTrip: time.Millisecond}},
	}
}
func (n twoNodes) Clients(context.Context) iter.Seq[clusterinfo.Client] {
	return func(yield func(clusterinfo.Client) bool) {
		for i := range int(n) {
			c := clusterinfo.Client{ID: uint64(i + 1), Node: []string{"ID1", "ID2"}[i%2], State: clusterinfo.ClientState(i % 2), Since: time.Now()}
			if !yield(c) {
				return
			}
		}
	}
}

func TestInspectCluster(t *testing.T) {
	site := httptest.NewServer(&inspect.Handler{Cluster: twoNodes(maxInspectPage + 7)})
	defer site.Close()
	url := site.URL + "/pages"
	nodes := want(t, "", "inspect", url, "nodes", "--sort", "name", "--desc")
	assert.Regexp(t, `^NODE +STATE +ADDRESS +LEASE +CLIENTS +WAITING`, nodes)
	assert.Regexp(t, `\ngate-1 \(this\) +alive +10\.0\.0\.1:1 +\S+ +0 +3 [^\n]* ID1\nID2 +leaving [^\n]* connected +1ms +0 B +0 B +ID2\n$`, nodes)
	assert.Regexp(t, `^CLIENT +NODE +STATE[^\n]*\n +42 +ID2 +interrupted +`, want(t, "", "inspect", url, "clients", "--filter", "42", "-n", "1"))
	assert.Equal(t, maxInspectPage+8, strings.Count(want(t, "", "inspect", url, "clients", "--limit", "0"), "\n"))
	assert.Equal(t, 3, strings.Count(want(t, "", "inspect", url, "nodes", "--json", "--limit", "0")+"\n", "\n"))

	none := httptest.NewServer(&inspect.Handler{})
	defer none.Close()
	for _, table := range []string{"nodes", "clients"} {
		r := command(t, "", "inspect", none.URL, table)
		assert.Equal(t, exitError, r.status, fmt.Sprint(r))
		assert.Contains(t, r.errOut, "no node of a cluster")
	}
}
